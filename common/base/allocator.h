// The C library's allocator, tuned for processes that move tensors through gRPC.
//
//   int main(...) { paramd::ConfigureAllocatorForBulk(); ...
//
// Belongs at the start of main, before threads; belongs to the process.
#ifndef PARAMD_COMMON_BASE_ALLOCATOR_H_
#define PARAMD_COMMON_BASE_ALLOCATOR_H_

namespace paramd {

// Blocks up to 32 MiB, so the buffers that gRPC reads chunks into, come from the heap and stay in it when they are
// freed. By default glibc maps and unmaps each of them, and every page of each is then faulted in and zeroed anew.
// Costs up to 128 MiB of memory per arena that the process keeps.
void ConfigureAllocatorForBulk();

}  // namespace paramd

#endif  // PARAMD_COMMON_BASE_ALLOCATOR_H_
