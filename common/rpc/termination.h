// SIGTERM and SIGINT as an event that main waits for.
//
//   int main() {
//     BlockTerminationSignals();   // Before any thread starts.
//     ...
//     const int signal = WaitForTermination();
//
// Thread safe.
#ifndef PARAMD_COMMON_RPC_TERMINATION_H_
#define PARAMD_COMMON_RPC_TERMINATION_H_

namespace paramd {

// Blocks SIGTERM and SIGINT for this thread and all it starts later; call first in main. Also ignores SIGPIPE: a peer
// that closes its end is an error of that write, not of the process.
void BlockTerminationSignals();

// Waits for one of them, or until RequestTermination(); returns the signal's number, 0 for a request.
int WaitForTermination();

// From any thread: lets WaitForTermination return, now or when it is called next.
void RequestTermination();

}  // namespace paramd

#endif  // PARAMD_COMMON_RPC_TERMINATION_H_
