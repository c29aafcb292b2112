// Groups of ranks whose device is the CUDA backend, emulated: every policy gives the tokens that
// the CPU backend gives, restored rows included; and a device that is lost, or full, ends what it
// was doing with a sentence and never with a token.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/fault.h"
#include "tests/worker/cuda_fixture.h"
#include "tests/worker/store_process.h"

namespace ebb::worker::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST_F(CudaWorkerTest, DenseGivesTheCpusTokens) {
  compare(1, policy(control::PolicyKind::kDense, 0));
}

TEST_F(CudaWorkerTest, TwoRanksOnOneDeviceSumThroughTheHost) {
  compare(2, policy(control::PolicyKind::kDense, 0));
  compare(2, policy(control::PolicyKind::kTidal, 32));
}

TEST_F(CudaWorkerTest, EverySparsePolicyGivesTheCpusTokens) {
  compare(1, policy(control::PolicyKind::kTidal, 32));
  compare(1, policy(control::PolicyKind::kRecycled, 32));
  compare(1, policy(control::PolicyKind::kAnchored, 32));
}

TEST_F(CudaWorkerTest, GraphsChangeNoBitUnderAnyPolicy) {
  using control::PolicyKind;
  compare_graphs(setup(1, true), policy(PolicyKind::kDense, 0));
  compare_graphs(setup(1, true), policy(PolicyKind::kTidal, 32));
  compare_graphs(setup(1, true), policy(PolicyKind::kRecycled, 32));
  auto params = policy(PolicyKind::kTidal, 32);
  params.scope = control::SetScope::kKvHead;
  compare_graphs(setup(1, true), params);
  params = policy(PolicyKind::kTidal, 32);
  params.rank_union = true;
  compare_graphs(setup(1, true), params);
  params = policy(PolicyKind::kAnchored, 32);
  params.digest = control::DigestKind::kH3;
  params.left_out = true;
  compare_graphs(setup(1, true), params);
  params = policy(PolicyKind::kStreaming, 12);
  params.kept = params.budget + 48;  // a chunk
  compare_graphs(setup(1, true), params);
  compare_graphs(setup(2, true), policy(PolicyKind::kTidal, 32));
}

TEST_F(CudaWorkerTest, GraphsChangeNoBitOfListsByQueryHead) {
  auto params = policy(control::PolicyKind::kTidal, 32);
  params.scope = control::SetScope::kQueryHead;
  compare_graphs(setup(1, true), params);
  compare_graphs(setup(2, true), params);
  // Chosen anew every third step; of its own steps' lists between.
  params.kind = control::PolicyKind::kComposed;
  params.stride = 3;
  compare_graphs(setup(1, true), params);
}

TEST_F(CudaWorkerTest, GraphsChangeNoBitOfSchedules) {
  auto params = policy(control::PolicyKind::kComposed, 32);
  params.stride = 3;
  compare_graphs(setup(1, true), params);
  compare_graphs(setup(2, true), params);
  params.stride = 0;
  params.check_every = 2;
  params.similarity = 0.5f;
  compare_graphs(setup(1, true), params);
  params.kind = control::PolicyKind::kRecycled;
  compare_graphs(setup(1, true), params);
  params.check_every = 0;
  params.stride = 3;
  compare_graphs(setup(1, true), params);
}

TEST_F(CudaWorkerTest, GraphsChangeNoBitOfStepsThatFetch) {
  StoreProcess store("2MiB");
  GroupSetup s = setup(1, true);
  s.store = store.address();
  compare_graphs(s, policy(control::PolicyKind::kTidal, 32), true);
}

TEST_F(CudaWorkerTest, ReleasedRowsComeBackFromTheStore) {
  StoreProcess store("2MiB");
  GroupSetup cuda_setup = setup(1, true), cpu_setup = setup(1, false);
  cuda_setup.store = cpu_setup.store = store.address();
  const auto params = policy(control::PolicyKind::kTidal, 32);
  cpu_setup.epochs_before = 10;  // the store remembers a group's last epoch
  std::vector<control::TokenLogprob> spilled;
  {
    RankGroup cuda(cuda_setup);
    spilled = scores(cuda, params, true);
  }
  RankGroup cpu(cpu_setup);
  expect_alike(spilled, scores(cpu, params));
}

class CudaReleasedRows : public CudaWorkerTest {
 protected:
  void expect_refused_record(data::DeviceMemory device_memory);
  static void expect_released_bits(RankGroup& group, uint64_t seed, int steps);
};

/// Two sequences of the same tokens, one with its followers' rows away, on a device whose streams
/// do their work late: every bit the same, over granules that become whole meanwhile.
void CudaReleasedRows::expect_released_bits(RankGroup& group, uint64_t seed, int steps) {
  ebb::emulation::shuffle_streams(seed);
  const auto params = policy(control::PolicyKind::kTidal, 32);
  for (const uint64_t seq : {1u, 2u}) {
    control::OpenUnit open = open_unit(seq, params);
    open.prompt = open_unit(1, params).prompt;
    open.prompt.resize(kPrompt);
    open.decode_from = kPrompt;
    open.max_tokens = static_cast<uint32_t>(steps) + 1;
    group.open(open);
  }
  group.prefill(SeqId{1}, kPrompt, 48);
  const auto filled = group.prefill_by_band(SeqId{2}, kPrompt, 48, 32);
  for (const auto& failure : filled[0].failures) ADD_FAILURE() << failure.error.text();
  for (int step = 0; step < steps; ++step) {
    const auto resident = group.decode({SeqId{1}}), released = group.decode({SeqId{2}});
    ASSERT_FALSE(resident[0].sequences.empty());
    ASSERT_FALSE(released[0].sequences.empty()) << released[0].failures[0].error.text();
    EXPECT_EQ(released[0].sequences[0].token.top, resident[0].sequences[0].token.top)
        << "seed " << seed << ", step " << step;
  }
  const auto closed = group.close(SeqId{2});
  EXPECT_GT(closed[0].maps.at(0).counters.restored_host_records, 0u);
  group.close(SeqId{1});
}

TEST_F(CudaReleasedRows, HaveTheBitsOfResidentOnesWheneverStreamsDoTheirWork) {
  StoreProcess store("2MiB");
  GroupSetup with_store = setup(1, true);
  with_store.store = store.address();
  RankGroup group(with_store);
  for (const uint64_t seed : {1u, 2u}) expect_released_bits(group, seed, 18);
}

/// A counter of the group's first rank.
double counted(RankGroup& group, const std::string& name) {
  const std::string text = group.metrics(0);
  const size_t at = text.find("\n" + name + " ");
  EXPECT_NE(at, std::string::npos) << name;
  return at == std::string::npos ? -1 : std::stod(text.substr(at + name.size() + 2));
}
constexpr const char* kLanded = "ebb_kv_client_device_bytes_total";
constexpr const char* kReceived = "ebb_kv_client_bytes_total{direction=\"in\"}";

TEST_F(CudaReleasedRows, RecordsThatTheNetworkBringsToTheDeviceGiveTheSameBits) {
  StoreProcess store("2MiB");
  GroupSetup to_device = setup(1, true);
  to_device.store = store.address();
  to_device.device_memory = data::DeviceMemory::kAsHost;
  RankGroup group(to_device);
  EXPECT_EQ(group.engine(0).landing(), kernels::MemoryKind::kDevice);
  for (const uint64_t seed : {1u, 2u, 3u}) expect_released_bits(group, seed, 18);
  EXPECT_GT(counted(group, kLanded), 0);
  EXPECT_EQ(counted(group, kLanded), counted(group, kReceived)) << "all of them went that way";
}

TEST_F(CudaWorkerTest, TwoRanksThatReceiveIntoTheirDevicesGiveTheCpusTokens) {
  StoreProcess store("2MiB");
  GroupSetup cuda_setup = setup(2, true), cpu_setup = setup(2, false);
  cuda_setup.store = cpu_setup.store = store.address();
  // To a CPU's memory nothing is brought that way: it is the host's.
  cuda_setup.device_memory = cpu_setup.device_memory = data::DeviceMemory::kAsHost;
  const auto params = policy(control::PolicyKind::kTidal, 32);
  cpu_setup.epochs_before = 10;  // the store remembers a group's last epoch
  std::vector<control::TokenLogprob> landed;
  {
    RankGroup cuda(cuda_setup);
    landed = scores(cuda, params, true);
    EXPECT_GT(counted(cuda, kLanded), 0);
  }
  RankGroup cpu(cpu_setup);
  expect_alike(landed, scores(cpu, params, true));
  EXPECT_EQ(cpu.engine(0).landing(), kernels::MemoryKind::kHost);
  EXPECT_EQ(counted(cpu, kLanded), 0);
  EXPECT_GT(counted(cpu, kReceived), 0);
}

TEST_F(CudaReleasedRows, ASequenceThatIsClosedWhileItsGranulesAreOnTheirWayHarmsNobody) {
  StoreProcess store("2MiB");
  GroupSetup with_store = setup(1, true);
  with_store.store = store.address();
  RankGroup group(with_store);
  // The sixteenth step seals a granule; nothing follows it but the end.
  expect_released_bits(group, 3, 16);
  expect_released_bits(group, 4, 2);  // in the blocks that were given back
}

TEST_F(CudaReleasedRows, ARecordThatTheDeviceRefusesEndsItsSequenceOnly) {
  expect_refused_record(data::DeviceMemory::kNone);
}

TEST_F(CudaReleasedRows, ARecordThatLandedOnTheDeviceAndIsRefusedEndsItsSequenceOnly) {
  expect_refused_record(data::DeviceMemory::kAsHost);
}

void CudaReleasedRows::expect_refused_record(data::DeviceMemory device_memory) {
  StoreProcess store("2MiB");
  GroupSetup with_store = setup(1, true);
  with_store.store = store.address();
  with_store.device_memory = device_memory;
  RankGroup group(with_store);
  const auto params = policy(control::PolicyKind::kTidal, 32);
  for (const uint64_t seq : {1u, 2u}) {
    group.open(open_unit(seq, params));
    group.prefill(SeqId{seq}, kPrompt, 48);
  }
  group.release(SeqId{1}, {2}, 32);
  (void)arm_fault("worker.kv_mover.arrival");  // a point that was never passed is armed, too
  std::vector<control::UnitFailure> failures;
  for (uint32_t i = 0; i < kSteps && failures.empty(); ++i) {
    failures = group.decode({SeqId{1}})[0].failures;
  }
  disarm_all_faults();
  ASSERT_EQ(failures.size(), 1u);
  EXPECT_EQ(failures[0].seq, SeqId{1});
  EXPECT_EQ(failures[0].error.code, Code::kCorrupt);
  EXPECT_THAT(failures[0].error.message, AllOf(HasSubstr("restore"), HasSubstr("on the device")));
  EXPECT_FALSE(group.decode({SeqId{2}})[0].sequences.empty());
  // What was bad is not taken for good the next time.
  const auto again = group.decode({SeqId{1}});
  EXPECT_FALSE(again[0].sequences.empty()) << again[0].failures[0].error.text();
  EXPECT_EQ(counted(group, kLanded) > 0, device_memory == data::DeviceMemory::kAsHost);
}

TEST_F(CudaWorkerTest, ADeviceThatIsLostWithRowsUnderWayEndsTheUnit) {
  StoreProcess store("2MiB");
  GroupSetup with_store = setup(1, true);
  with_store.store = store.address();
  const auto params = policy(control::PolicyKind::kTidal, 32);
  for (const unsigned launches : {0u, 9u, 18u}) {
    with_store.epochs_before += 10;  // the store remembers a group's last epoch
    RankGroup group(with_store);
    group.open(open_unit(1, params));
    group.prefill(SeqId{1}, kPrompt, 48);
    control::Unit unit = decode_unit();
    if (launches == 0) {  // while it packs
      unit.kind = control::UnitKind::kRelease;
      unit.release = {SeqId{1}, {2}, 32};
    } else {
      group.release(SeqId{1}, {2}, 32);
    }
    ebb::emulation::fail_call("lost", launches, kLaunchFailure);
    const auto results = group.try_run(unit);
    ASSERT_FALSE(results[0]) << "after " << launches << " launches";
    EXPECT_THAT(results[0].error().message, HasSubstr("device is lost"));
    ASSERT_TRUE(group.engine(0).lost());
    EXPECT_FALSE(group.try_run(decode_unit())[0]);
    ebb::emulation::heal();
  }
}

TEST_F(CudaWorkerTest, ADeviceThatIsLostEndsTheUnitAndSaysSo) {
  for (const unsigned launches : {0u, 17u}) {
    ebb::emulation::heal();
    RankGroup group(setup(1, true));
    group.open(open_unit(1, policy(control::PolicyKind::kTidal, 32)));
    group.prefill(SeqId{1}, kPrompt, 48);
    ebb::emulation::fail_call("lost", launches, kLaunchFailure);
    EXPECT_FALSE(group.engine(0).lost());
    const auto results = group.try_run(decode_unit());
    ASSERT_FALSE(results[0]) << "a token from a lost device, after " << launches << " launches";
    EXPECT_THAT(results[0].error().message, AllOf(HasSubstr("device is lost"), HasSubstr("719")));
    ASSERT_TRUE(group.engine(0).lost());
    const auto again = group.try_run(decode_unit());
    EXPECT_FALSE(again[0]) << "and stays lost";
  }
}

TEST_F(CudaWorkerTest, AnArenaThatDoesNotFitNamesBothFigures) {
  RankGroup group(setup(1, true));
  ebb::emulation::Machine small;
  small.memory = 3 << 20;
  ebb::emulation::set_machine(small);
  control::FormGroup form;
  form.epoch = Epoch{9};
  form.ranks = 1;
  models::SelectionProfile profile = setup(1, true).profile;
  form.profile_yaml = models::print_selection_profile(profile);
  form.granule_tokens = 16;
  form.device_kv_bytes = 64 << 20;
  LocalRendezvous rendezvous;
  const auto formed = group.engine(0).form(form, rendezvous.functions(), group.board());
  ASSERT_FALSE(formed);
  EXPECT_EQ(formed.error().code, Code::kExhausted);
  EXPECT_THAT(formed.error().message, AllOf(HasSubstr("device_kv_size of 67108864"),
                                            HasSubstr("bytes asked"), HasSubstr("are free")));
  EXPECT_FALSE(group.engine(0).lost()) << "the device is as good as before";
}

}  // namespace
}  // namespace ebb::worker::testing
