#!/usr/bin/env python3
"""Writes Jane Austen's six novels, from Debian's r-cran-janeaustenr, as one plain text file.

  austen_text.py RDATA_STEM OUTPUT      (RDATA_STEM.rdb and RDATA_STEM.rdx are read)

The package keeps each novel as an R character vector of lines inside R's "lazy load" data base: the .rdx file is a
gzip or zlib compressed serialised list that names offset and length of each object in the .rdb file, whose entries are a
4-byte big-endian length followed by a zlib stream of the serialised object. Both use R's XDR serialisation ("X\\n").
Needs nothing but Python's standard library. The output depends on the package's contents alone: novels in the
alphabetical order of their R names, lines joined by newlines, an empty line between novels.
"""

import hashlib
import os
import struct
import sys
import zlib

# Type codes of R's serialisation (R-ints, "Serialization Formats").
NIL, SYMBOL, PAIRLIST, CHARS, LOGICAL, INTEGER, REAL, STRINGS, LIST = 0, 1, 2, 9, 10, 13, 14, 16, 19
REFERENCE, NIL_VALUE, GLOBAL_ENVIRONMENT, ALTREP = 255, 254, 253, 238
HAS_ATTRIBUTES, HAS_TAG = 0x200, 0x400


class Reader:
  """Reads one serialised R object; vectors become Python lists, named lists become dicts."""

  def __init__(self, data):
    self.data = data
    self.position = 0
    self.references = []

  def take(self, count):
    if count < 0 or self.position + count > len(self.data):
      raise ValueError("R data ends early: %d bytes wanted at offset %d of %d" % (count, self.position, len(self.data)))
    piece = self.data[self.position:self.position + count]
    self.position += count
    return piece

  def integer(self):
    return struct.unpack(">i", self.take(4))[0]

  def header(self):
    if self.take(2) != b"X\n":
      raise ValueError("not R's XDR serialisation")
    version, _, _ = self.integer(), self.integer(), self.integer()
    if version == 3:
      self.take(self.integer())  # Name of the native encoding.
    elif version != 2:
      raise ValueError("R serialisation version %d is not known" % version)
    return self

  def chars(self):
    length = self.integer()
    return None if length == -1 else self.take(length)

  def vector(self, kind):
    count = self.integer()
    if kind in (LOGICAL, INTEGER):
      return list(struct.unpack(">%di" % count, self.take(4 * count)))
    if kind == REAL:
      return list(struct.unpack(">%dd" % count, self.take(8 * count)))
    return [self.item() for _ in range(count)]

  def pairlist(self, flags):
    pairs = {}
    while flags & 0xFF == PAIRLIST:
      if flags & HAS_ATTRIBUTES:
        self.item()
      tag = self.item() if flags & HAS_TAG else None
      pairs[tag] = self.item()
      flags = self.integer()
    return pairs

  def item(self):
    flags = self.integer()
    kind = flags & 0xFF
    if kind in (NIL, NIL_VALUE, GLOBAL_ENVIRONMENT):
      return None
    if kind == REFERENCE:
      index = flags >> 8 or self.integer()
      return self.references[index - 1]
    if kind == SYMBOL:
      self.references.append(self.item())
      return self.references[-1]
    if kind == PAIRLIST:
      return self.pairlist(flags)
    if kind == CHARS:
      return self.chars()
    if kind in (LOGICAL, INTEGER, REAL, STRINGS, LIST):
      values = self.vector(kind)
      attributes = self.item() if flags & HAS_ATTRIBUTES else {}
      names = (attributes or {}).get(b"names")
      return dict(zip(names, values)) if names else values
    raise ValueError("R type %d is not known" % kind)


def inflate(data):
  return zlib.decompress(data, zlib.MAX_WBITS | 32)  # zlib or gzip, whichever it is.


def read_novels(stem):
  """Returns {name: lines} of all character vectors in the data base."""
  with open(stem + ".rdx", "rb") as index_file, open(stem + ".rdb", "rb") as data_file:
    index = Reader(inflate(index_file.read())).header().item()
    data = data_file.read()
  novels = {}
  for name, (offset, length) in index[b"variables"].items():
    entry = data[offset:offset + length]
    (size,) = struct.unpack(">I", entry[:4])
    serialised = zlib.decompress(entry[4:])
    if len(serialised) != size:
      raise ValueError("%s: %d bytes, %d expected" % (name.decode(), len(serialised), size))
    lines = Reader(serialised).header().item()
    if isinstance(lines, list) and lines and isinstance(lines[0], bytes):
      novels[name] = [line or b"" for line in lines]
  if not novels:
    raise ValueError("%s.rdb holds no text" % stem)
  return novels


def main(arguments):
  if len(arguments) != 2:
    print(__doc__, file=sys.stderr)
    return 2
  stem, output = arguments
  novels = read_novels(stem)
  text = b"\n\n".join(b"\n".join(novels[name]) for name in sorted(novels)) + b"\n"
  temporary = output + ".tmp.%d" % os.getpid()
  with open(temporary, "wb") as file:
    file.write(text)
  os.replace(temporary, output)
  print("%s  %s (%d bytes, %d novels)" % (hashlib.sha256(text).hexdigest(), output, len(text), len(novels)))
  return 0


if __name__ == "__main__":
  try:
    sys.exit(main(sys.argv[1:]))
  except (OSError, ValueError, KeyError, IndexError, zlib.error, struct.error) as error:
    print("austen_text.py: %s" % error, file=sys.stderr)
    sys.exit(1)
