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

void RendezvousBoard::cancel_waiting(const std::string& why) {
  std::multimap<std::string, Answer> waiting;
  {
    const std::lock_guard lock(mutex_);
    waiting.swap(waiting_);
  }
  for (const auto& [key, answer] : waiting) answer(cancelled(why));
}

}  // namespace ebb::coordinator
