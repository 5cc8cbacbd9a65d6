#include "server/service/read_gate.h"

#include <atomic>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace paramd {
namespace {

using Verdict = ReadGate::Verdict;

TEST(ReadGateTest, PausesAtEachLimitAndGoesOnAtHalfOfIt) {
  struct Case {
    const char* name;
    ReadLimits limits;
    int fits;        // Requests of 100 bytes that are read before it pauses.
    int half;        // Of these, how many are gone when it goes on.
    bool answering;  // Which of the two events counts.
  };
  const Case cases[] = {
      {"payloads", {.payloads = 8}, 8, 4, false},
      {"bytes", {.payload_bytes = 1000}, 10, 5, false},
      {"bytes, the last goes beyond", {.payload_bytes = 950}, 10, 6, false},
      {"open requests", {.open_requests = 6}, 6, 3, true},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    ReadGate gate(c.limits);
    for (int i = 0; i < c.fits; ++i) {
      ASSERT_EQ(gate.Next(), Verdict::kRead) << i;
      gate.Accept(100);
      if (c.answering) {
        ASSERT_FALSE(gate.Consumed(100)) << "nobody has paused";
      }
    }
    ASSERT_EQ(gate.Next(), Verdict::kPause);
    for (int i = 1; i <= c.fits; ++i) {
      const bool goes_on = c.answering ? gate.Answered() : gate.Consumed(100);
      ASSERT_EQ(goes_on, i == c.half) << i;
      if (goes_on) {
        ASSERT_EQ(gate.Next(), Verdict::kRead);
      }
    }
    EXPECT_EQ(gate.held_bytes(), 0);
  }
}

TEST(ReadGateTest, ClosingEndsThePause) {
  ReadGate gate({.payloads = 1});
  gate.Accept(1);
  ASSERT_EQ(gate.Next(), Verdict::kPause);
  EXPECT_TRUE(gate.Close());
  EXPECT_EQ(gate.Next(), Verdict::kEnd);
  EXPECT_FALSE(gate.Consumed(1)) << "there is a reader";
}

TEST(ReadGateTest, ClosingWhileReading) {
  ReadGate gate({.payloads = 1});
  EXPECT_FALSE(gate.Close()) << "the reader finds out";
  EXPECT_EQ(gate.Next(), Verdict::kEnd);
  gate.Accept(1);
  EXPECT_EQ(gate.Next(), Verdict::kEnd) << "even without room";
}

// A reader that is always too fast; the role goes back and forth between it and the consumers. Without the order of the
// looks a wake-up would be lost, and this test would not end.
TEST(ReadGateTest, NoWakeUpIsLost) {
  constexpr int kRequests = 50000, kConsumers = 3;
  ReadGate gate({.payloads = 2, .payload_bytes = 64, .open_requests = 3});
  std::atomic<int> accepted = 0, consumed = 0, readers = 0, most_readers = 0;
  int read = 0;  // Of the reader.
  const auto go_on = [&] {
    for (;;) {
      most_readers = std::max<int>(most_readers, ++readers);
      const bool more = read < kRequests;
      --readers;
      if (!more || gate.Next() != Verdict::kRead) return;
      ++read;
      gate.Accept(16);
      ++accepted;
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < kConsumers; ++i) {
    threads.emplace_back([&] {
      while (consumed < kRequests) {
        int available = accepted;
        if (available == 0 || !accepted.compare_exchange_strong(available, available - 1)) continue;
        if (gate.Consumed(16)) go_on();
        if (gate.Answered()) go_on();
        ++consumed;
      }
    });
  }
  go_on();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(read, kRequests);
  EXPECT_EQ(most_readers, 1);
  EXPECT_EQ(gate.open(), 0);
  EXPECT_EQ(gate.held_bytes(), 0);
}

}  // namespace
}  // namespace paramd
