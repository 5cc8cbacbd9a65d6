#include "worker/data/test_files.h"

#include <zlib.h>

#include <cstdlib>
#include <fstream>

#include "gtest/gtest.h"

namespace paramd {
namespace {

void AppendBigEndian(std::string& out, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<char>(value >> shift));
}

}  // namespace

std::string WriteTestFile(const std::string& name, const std::string& content) {
  const std::string path = testing::TempDir() + "/" + name;
  std::ofstream file(path, std::ios::binary);
  file << content;
  file.close();
  if (!file) abort();
  return path;
}

std::string Gzip(const std::string& content) {
  z_stream stream = {};
  if (deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) abort();
  std::string out(deflateBound(&stream, content.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
  stream.avail_in = static_cast<uInt>(content.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  if (deflate(&stream, Z_FINISH) != Z_STREAM_END) abort();
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string IdxImages(uint32_t count, uint32_t rows, uint32_t columns, const std::vector<uint8_t>& pixels) {
  std::string out;
  for (uint32_t word : {uint32_t{0x803}, count, rows, columns}) AppendBigEndian(out, word);
  out.append(pixels.begin(), pixels.end());
  return out;
}

std::string IdxLabels(uint32_t count, const std::vector<uint8_t>& labels) {
  std::string out;
  for (uint32_t word : {uint32_t{0x801}, count}) AppendBigEndian(out, word);
  out.append(labels.begin(), labels.end());
  return out;
}

}  // namespace paramd
