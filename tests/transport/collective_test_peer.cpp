// One rank in a process of its own, for tests that kill or stop it. Its rendezvous is the test,
// over pipes: "put KEY VALUE" out; "get KEY" out, the value in. Prints "formed", then reduces until
// it fails.
#include <signal.h>
#include <sys/prctl.h>

#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "transport/collective/collective.h"

int main(int argc, char** argv) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // a test that is killed may have left us stopped
  using namespace ebb;
  if (argc != 4) return 2;
  collective::CollectiveOptions options;
  options.rank = static_cast<uint32_t>(std::atoi(argv[1]));
  options.size = static_cast<uint32_t>(std::atoi(argv[2]));
  options.epoch = Epoch{static_cast<uint64_t>(std::atoll(argv[3]))};
  options.form_by = Deadline::after(Millis(10000));
  collective::Rendezvous rendezvous;
  rendezvous.put = [](const std::string& key, const std::string& value) -> Result<void> {
    std::cout << "put " << key << " " << value << std::endl;
    return {};
  };
  rendezvous.get = [](const std::string& key, Deadline) -> Result<std::string> {
    std::cout << "get " << key << std::endl;
    std::string value;
    if (!std::getline(std::cin, value)) return unavailable("the test went away");
    return value;
  };
  auto made = collective::make_collective(options, rendezvous);
  if (!made) {
    std::cout << "failed " << made.error().text() << std::endl;
    return 1;
  }
  std::cout << "formed" << std::endl;
  std::vector<float> values(300000, 1.0f);
  while ((*made)->all_reduce_sum(values.data(), values.size())) {
  }
  return 0;
}
