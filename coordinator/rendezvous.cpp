#include "coordinator/rendezvous.h"

#include "base/log.h"

namespace ebb::coordinator {

void RendezvousBoard::put(const std::string& key, std::string value) {
  if (value.size() > kValueBytesMax) {
    log_warn("coordinator", "rendezvous value dropped", {{"key", key}, {"bytes", value.size()}});
    return;
  }
  std::vector<Answer> due;
  {
    const std::lock_guard lock(mutex_);
    if (!values_.contains(key)) order_.push_back(key);
    values_[key] = value;
    if (order_.size() > kKeysMax) {
      values_.erase(order_.front());
      order_.pop_front();
    }
    const auto [begin, end] = waiting_.equal_range(key);
    for (auto waiter = begin; waiter != end; ++waiter) due.push_back(std::move(waiter->second));
    waiting_.erase(begin, end);
  }
  for (const Answer& answer : due) answer(value);
}

void RendezvousBoard::get(const std::string& key, Answer answer) {
  Result<std::string> reply = exhausted("rendezvous: too many wait");
  {
    const std::lock_guard lock(mutex_);
    const auto found = values_.find(key);
    if (found != values_.end()) {
      reply = found->second;
    } else if (waiting_.size() < kWaitersMax) {
      waiting_.emplace(key, std::move(answer));
      return;
    }
  }
  answer(std::move(reply));
}

void RendezvousBoard::end(Epoch epoch, const std::string& why) {
  const std::string prefix = "epoch" + std::to_string(epoch.value) + "/";
  const auto of_epoch = [&prefix](const auto& entry) { return entry.first.starts_with(prefix); };
  std::vector<Answer> due;
  {
    const std::lock_guard lock(mutex_);
    for (auto& waiter : waiting_) {
      if (of_epoch(waiter)) due.push_back(std::move(waiter.second));
    }
    std::erase_if(waiting_, of_epoch);
    std::erase_if(values_, of_epoch);
    std::erase_if(order_, [&prefix](const std::string& key) { return key.starts_with(prefix); });
  }
  for (const Answer& answer : due) answer(cancelled(why));
}

}  // namespace ebb::coordinator
