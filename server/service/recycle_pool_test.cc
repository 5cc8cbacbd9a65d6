#include "server/service/recycle_pool.h"

#include <atomic>
#include <set>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace paramd {
namespace {

struct Object {
  int uses = 0;
  Object* next = nullptr;
};

TEST(RecyclePoolTest, MakesOnlyWhatIsInUseAtOnce) {
  RecyclePool<Object> pool;
  std::set<Object*> used;
  for (int round = 0; round < 100; ++round) {
    Object& a = pool.Take();
    Object& b = pool.Take();
    EXPECT_NE(&a, &b);
    used.insert({&a, &b});
    pool.GiveBack(a);
    pool.GiveBack(b);
  }
  EXPECT_EQ(used.size(), 2u);
  EXPECT_EQ(pool.size(), 2u);
}

TEST(RecyclePoolTest, OneTakesWhileOthersGiveBack) {
  constexpr int kGivers = 3, kObjects = 10000;
  RecyclePool<Object> pool;
  std::vector<MpscQueue<Object>> queues(kGivers);
  std::atomic<bool> end = false;
  std::vector<std::thread> givers;
  for (int i = 0; i < kGivers; ++i) {
    givers.emplace_back([&, i] {
      for (bool last = false; !last;) {
        last = end;
        for (Object* object = queues[i].TakeAll(); object != nullptr;) {
          Object* const next = object->next;
          ++object->uses;  // Seen by the one who takes it next.
          pool.GiveBack(*object);
          object = next;
        }
      }
    });
  }
  int uses = 0;
  for (int i = 0; i < kObjects; ++i) {
    Object& object = pool.Take();
    uses += std::exchange(object.uses, 0);
    queues[i % kGivers].Push(object);
  }
  end = true;
  for (std::thread& giver : givers) giver.join();
  // All are back by now: taking each once more finds the uses that were not counted yet.
  for (size_t i = pool.size(); i > 0; --i) uses += pool.Take().uses;
  EXPECT_EQ(uses, kObjects);
}

}  // namespace
}  // namespace paramd
