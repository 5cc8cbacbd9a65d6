// Small data files for tests, below the test's own temporary directory.
//
//   const std::string path = WriteTestFile("images", IdxImages(2, 1, 2, {0, 255, 51, 102}));
#ifndef PARAMD_WORKER_DATA_TEST_FILES_H_
#define PARAMD_WORKER_DATA_TEST_FILES_H_

#include <cstdint>
#include <string>
#include <vector>

namespace paramd {

// Writes `content` and returns the path. Aborts the test when it cannot.
std::string WriteTestFile(const std::string& name, const std::string& content);

// `content` as one gzip member.
std::string Gzip(const std::string& content);

// The bytes of IDX files. Extents are written as given, whatever the data.
std::string IdxImages(uint32_t count, uint32_t rows, uint32_t columns, const std::vector<uint8_t>& pixels);
std::string IdxLabels(uint32_t count, const std::vector<uint8_t>& labels);

}  // namespace paramd

#endif  // PARAMD_WORKER_DATA_TEST_FILES_H_
