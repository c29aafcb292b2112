// Where the ranks of a new incarnation find each other's addresses: keys are put once, gets wait
// for them. In memory; keys carry their epoch, so that old ones mislead nobody, and only the newest
// are kept.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"

namespace ebb::coordinator {

/// All methods any thread. Answers are called without a lock held.
class RendezvousBoard {
 public:
  using Answer = std::function<void(Result<std::string>)>;
  static constexpr size_t kKeysMax = 4096;
  static constexpr size_t kWaitersMax = 4096;
  static constexpr size_t kValueBytesMax = 1 << 20;

  /// A value of more than kValueBytesMax is dropped: its readers run into their deadlines, and the
  /// log says why.
  void put(const std::string& key, std::string value);
  /// At once, or when the key is put. Errors: kExhausted. Whoever asked may have given up long ago.
  void get(const std::string& key, Answer answer);
  /// Forgets the keys of `epoch`; who waits for one is answered kCancelled.
  void end(Epoch epoch, const std::string& why);

 private:
  std::mutex mutex_;
  std::map<std::string, std::string> values_;
  std::deque<std::string> order_;
  std::multimap<std::string, Answer> waiting_;
};

}  // namespace ebb::coordinator
