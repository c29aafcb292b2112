// How fast granules go into a store and scattered records come out of it, over a real messenger on
// the loopback. Run by hand: ebb_kvstore_bench [seconds per line]. Prints medians; not a test.
#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>

#include "base/units.h"
#include "kvstore/client.h"
#include "kvstore/service.h"
#include "tests/kvstore/support.h"

namespace ebb::kvstore {
namespace {

constexpr Deadline kNever = {};

struct Rig {
  explicit Rig(StoreOptions options) {
    store = std::move(*Store::open(options, metrics));
    service = std::make_unique<Service>(*store, "s0", metrics);
    data::MessengerOptions messaging;
    messaging.name = "data";
    server = std::move(*data::Messenger::start(messaging));
    server->listen({"127.0.0.1", 0}, service->handlers()).value();
    messaging.name = "client";
    client_messenger = std::move(*data::Messenger::start(messaging));
    client = std::move(*Client::connect(*client_messenger, {"127.0.0.1", server->port()},
                                        {"", "g0/rank0", "g0", Epoch{1}, {}, {3072, 4096}}, metrics,
                                        Deadline::after(Millis(10000))));
  }
  ~Rig() {
    client.reset();
    client_messenger.reset();
    server.reset();
    store.reset();
  }
  Metrics metrics;
  std::unique_ptr<Service> service;
  std::unique_ptr<Store> store;
  std::unique_ptr<data::Messenger> server, client_messenger;
  std::unique_ptr<Client> client;
};

/// Processor time of this process: what a busy machine does not blur.
double cpu_seconds() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

struct Sample {
  double seconds = 0;
  double cpu = 0;
};

double seconds_since(TimePoint began) {
  return std::chrono::duration<double>(Clock::now() - began).count();
}

void report(const char* what, std::vector<Sample> samples, uint64_t bytes) {
  if (samples.empty()) return;
  std::sort(samples.begin(), samples.end(),
            [](const Sample& a, const Sample& b) { return a.seconds < b.seconds; });
  const auto rate = [&](double seconds) {
    return static_cast<double>(bytes) / seconds / (1 << 20);
  };
  double cpu = 0;
  for (const Sample& sample : samples) cpu += sample.cpu / static_cast<double>(samples.size());
  const Sample median = samples[samples.size() / 2];
  std::printf(
      "%-50s median %7.2f ms %7.1f MiB/s, best %7.1f MiB/s, per cpu second %7.1f MiB (%zu runs)\n",
      what, median.seconds * 1e3, rate(median.seconds), rate(samples.front().seconds), rate(cpu),
      samples.size());
}

Sample put_all(Rig& rig, SeqId holder, std::span<const Granule> granules) {
  std::vector<PutItem> items;
  for (const Granule& granule : granules) items.push_back(granule.put_item());
  const auto began = Clock::now();
  const double cpu = cpu_seconds();
  const auto reply = wait_for<PutReply>(
      [&](auto done) { rig.client->put(holder, std::move(items), kNever, done); });
  if (!reply) std::fprintf(stderr, "%s\n", reply.error().text().c_str()), std::exit(1);
  return {seconds_since(began), cpu_seconds() - cpu};
}

/// 1000 records of 400 granules.
Sample get_scattered(Rig& rig, std::span<const Granule> granules, std::mt19937& random,
                     TierKind from) {
  std::vector<uint32_t> bitmaps(granules.size());
  std::vector<size_t> chosen(granules.size());
  for (size_t i = 0; i < chosen.size(); ++i) chosen[i] = i;
  std::shuffle(chosen.begin(), chosen.end(), random);
  chosen.resize(400);
  for (int records = 0; records < 1000;) {
    uint32_t& bitmap = bitmaps[chosen[records < 400 ? records : random() % 400]];
    const uint32_t bit = 1u << random() % 16;
    if ((bitmap & bit) == 0) ++records;
    bitmap |= bit;
  }
  std::vector<GetItem> items;
  for (size_t i = 0; i < granules.size(); ++i) {
    if (bitmaps[i] != 0) items.push_back(ask(granules[i], bitmaps[i]));
  }
  std::vector<std::byte> frames(get_destination_bytes(items));
  const auto began = Clock::now();
  const double cpu = cpu_seconds();
  const auto reply = wait_for<GetReply>(
      [&](auto done) { rig.client->get(items, frames, Arrival::kChecked, kNever, done); });
  const Sample sample{seconds_since(began), cpu_seconds() - cpu};
  size_t right = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    right += reply && reply->items[i].present == items[i].bitmap && reply->items[i].from == from;
  }
  if (right + 40 < items.size())
    std::fprintf(stderr, "only %zu granules from %s\n", right, tier_name(from));
  return sample;
}

void run(double budget) {
  std::vector<Granule> granules;
  for (uint64_t i = 0; i < 2000; ++i)
    granules.push_back(make_granule(i, {.records = 16, .payload_bytes = 3072}));
  const uint64_t body = granules[0].body.size();
  std::mt19937 random(1);
  {
    StoreOptions options;
    options.host_bytes = 512 * kMiB;
    Rig rig(options);
    report("put 2000 new granules of 48 KiB, memory untouched", {put_all(rig, SeqId{1}, granules)},
           2000 * body);
    std::vector<Sample> again;
    for (const auto began = Clock::now(); seconds_since(began) < budget;) {
      again.push_back(put_all(rig, SeqId{2}, granules));
    }
    report("put 2000 granules that are there", again, 2000 * body);
    std::vector<Sample> gets;
    for (const auto began = Clock::now(); seconds_since(began) < budget;) {
      gets.push_back(get_scattered(rig, granules, random, TierKind::kHost));
    }
    report("get 1000 records of 400 granules, from host", gets, 1000 * framed_bytes(3072));
  }
  {
    StoreOptions options;
    options.host_bytes = 512 * kMiB;
    Rig rig(options);
    std::vector<Sample> puts;
    for (const auto began = Clock::now(); seconds_since(began) < budget;) {
      std::vector<Granule> fresh;
      for (uint64_t i = 0; i < 160; ++i) {
        fresh.push_back(make_granule(1'000'000 + puts.size() * 1000 + i,
                                     {.records = 16, .payload_bytes = 3072, .kind = 1}));
      }
      puts.push_back(put_all(rig, SeqId{puts.size()}, fresh));
      wait_for<void>([&](auto done) {
        rig.client->drop(SeqId{puts.size() - 1}, kNever, done);
      }).value();
    }
    report("put 160 new granules of 48 KiB", puts, 160 * body);
  }
  {
    TempDir directory;
    StoreOptions options;
    options.host_bytes = 2 * kMiB;
    options.ssd.quota_bytes = 1 * kGiB;
    options.ssd_path = directory.path("ssd");
    Rig rig(options);
    report("put 2000 granules through 2 MiB of memory to SSD", {put_all(rig, SeqId{1}, granules)},
           2000 * body);
    wait_for<void>([&](auto done) { rig.client->flush(kNever, done); }).value();
    std::vector<Sample> gets;
    for (const auto began = Clock::now(); seconds_since(began) < budget;) {
      gets.push_back(get_scattered(rig, granules, random, TierKind::kSsd));
    }
    report("get 1000 records of 400 granules, from SSD", gets, 1000 * framed_bytes(3072));
  }
}

}  // namespace
}  // namespace ebb::kvstore

int main(int argc, char** argv) { ebb::kvstore::run(argc > 1 ? std::atof(argv[1]) : 3.0); }
