#include "worker/train/slot_assignment.h"

#include "gtest/gtest.h"

namespace paramd {
namespace {

// Worker 0 of 3 with slots 0..1 of 6; the worker with 4..5 goes during step 5, and slot 4 of that is missing.
WorkerChange Loss() {
  return {.part = {.worker_index = 0, .workers = 2, .slots = {0, 3}}, .step = 5, .own = {0, 2}, .inherited = {{4, 1}}};
}

SlotAssignment Before() { return SlotAssignment(true, {.worker_index = 0, .workers = 3, .slots = {0, 2}}); }

// The news comes while this worker is in step 5, too.
SlotAssignment AfterTheLoss() {
  SlotAssignment slots = Before();
  slots.Enter(5);
  slots.Apply(Loss(), 6);
  return slots;
}

TEST(SlotAssignmentTest, TheOpenStepKeepsItsSlotsAndTheNextHasTheNewOnes) {
  SlotAssignment slots = AfterTheLoss();
  slots.Enter(5);
  EXPECT_EQ(slots.part().slots.count, 2u);
  EXPECT_EQ(slots.part().workers, 3u);
  EXPECT_EQ(slots.NextInherited(5), 4u);
  EXPECT_EQ(slots.NextInherited(6), std::nullopt);
  slots.Done(5, 4);
  EXPECT_EQ(slots.NextInherited(5), std::nullopt);
  slots.Enter(6);
  EXPECT_EQ(slots.part().slots.count, 3u);
  EXPECT_EQ(slots.part().workers, 2u);
}

TEST(SlotAssignmentTest, NewsForAStepThatIsStillToCome) {
  SlotAssignment slots = Before();
  slots.Enter(4);
  slots.Apply(Loss(), 5);
  slots.Enter(4);
  EXPECT_EQ(slots.part().slots.count, 2u);
  slots.Enter(5);
  EXPECT_EQ(slots.part().slots.count, 2u);
  EXPECT_EQ(slots.NextInherited(5), 4u);
  slots.Enter(6);
  EXPECT_EQ(slots.part().slots.count, 3u);
}

TEST(SlotAssignmentTest, NewsForTheStepBefore) {
  SlotAssignment slots = Before();
  slots.Enter(6);  // Waits for the weights of step 5.
  slots.Apply(Loss(), 7);
  EXPECT_EQ(slots.NextInherited(5), 4u);
  slots.Enter(6);
  EXPECT_EQ(slots.part().slots.count, 3u);
}

TEST(SlotAssignmentTest, AnotherLossInTheSameStepAddsWhatIsNotDone) {
  SlotAssignment slots = AfterTheLoss();
  slots.Done(5, 4);
  WorkerChange second = Loss();
  second.part = {.worker_index = 0, .workers = 1, .slots = {0, 6}};
  second.inherited = {{3, 2}};  // 4 once more, and 3.
  slots.Apply(second, 6);
  EXPECT_EQ(slots.NextInherited(5), 3u);
  slots.Done(5, 3);
  EXPECT_EQ(slots.NextInherited(5), std::nullopt);
  slots.Enter(6);
  EXPECT_EQ(slots.part().slots.count, 6u);
}

TEST(SlotAssignmentTest, InALaterStepNothingIsDoneYet) {
  SlotAssignment slots = AfterTheLoss();
  slots.Done(5, 4);
  slots.Enter(6);
  WorkerChange second = Loss();
  second.step = 6;
  second.own = {0, 3};
  slots.Apply(second, 7);
  EXPECT_EQ(slots.NextInherited(6), 4u);
  EXPECT_EQ(slots.NextInherited(5), std::nullopt);
}

TEST(SlotAssignmentTest, ClockedModesChangeAtTheNextClock) {
  SlotAssignment slots(false, {.worker_index = 0, .workers = 3, .slots = {0, 2}});
  slots.Enter(5);
  WorkerChange change = Loss();
  change.inherited.clear();
  slots.Apply(change, 6);
  slots.Enter(5);
  EXPECT_EQ(slots.part().slots.count, 2u);
  slots.Enter(6);
  EXPECT_EQ(slots.part().slots.count, 3u);
  EXPECT_EQ(slots.NextInherited(5), std::nullopt);
}

}  // namespace
}  // namespace paramd
