// A fixed number of mutations of valid and nearly valid messages through the properties of parameter_wire_fuzz.h.
#include "common/rpc/parameter_wire_fuzz.h"

#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "common/base/philox.h"
#include "common/base/test_seed.h"
#include "common/rpc/parameter_wire_testing.h"
#include "gtest/gtest.h"
#include "proto/parameter.pb.h"

namespace paramd {
namespace {

constexpr int kInputs = 200000;

std::string RandomSeedMessage(Philox& random, bool response) {
  if (response) {
    v1::ParameterResponse message;
    FillRandomly(random, message);
    return message.SerializeAsString();
  }
  v1::ParameterRequest message;
  FillRandomly(random, message);
  return message.SerializeAsString();
}

// One change of the kinds that find faults in decoders: a bit, a byte, an extreme, a cut, a piece twice.
void Mutate(Philox& random, std::string& bytes) {
  if (bytes.empty()) bytes.push_back(0);
  const size_t at = random.Below(bytes.size());
  const size_t length = random.Below(bytes.size() - at + 1);
  switch (random.Below(7)) {
    case 0:
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << random.Below(8)));
      break;
    case 1:
      bytes[at] = static_cast<char>(random.Next32());
      break;
    case 2:
      bytes[at] = random.Below(2) == 0 ? '\x7f' : '\xff';
      break;
    case 3:
      bytes.resize(at);
      break;
    case 4:
      bytes.erase(at, length);
      break;
    case 5:
      bytes.insert(at, bytes.substr(random.Below(bytes.size()), length));
      break;
    default:
      bytes.insert(at, std::string(1 + random.Below(10), '\x80'));
      break;
  }
}

std::string RandomInput(Philox& random) {
  const bool response = random.Below(2) == 1;
  std::string message = RandomSeedMessage(random, response);
  for (uint64_t changes = random.Below(4); changes > 0; --changes) Mutate(random, message);
  std::string sizes(random.Below(32), 0);
  for (char& size : sizes) size = static_cast<char>(random.Below(random.Below(2) == 0 ? 4 : 256));
  return WireInput(response, sizes, message);
}

TEST(ParameterWireFuzzTest, MutatedMessages) {
  Philox random(TestSeed(), RandomStream::kTest);
  for (int i = 0; i < kInputs; ++i) {
    const std::string input = RandomInput(random);
    ASSERT_EQ(FindWireFault(input), "") << "input " << i << ": " << absl::CHexEscape(input);
  }
}

TEST(ParameterWireFuzzTest, Noise) {
  Philox random(TestSeed(), RandomStream::kTest, 1);
  for (int i = 0; i < kInputs / 4; ++i) {
    std::string input(random.Below(64), 0);
    for (char& byte : input) byte = static_cast<char>(random.Next32());
    ASSERT_EQ(FindWireFault(input), "") << "input " << i << ": " << absl::CHexEscape(input);
  }
}

}  // namespace
}  // namespace paramd
