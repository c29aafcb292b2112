// One end of the control protocol in a process of its own, for tests that kill or stop it.
//   worker PORT TOKEN   joins, forms at once, never answers a unit, ends when the coordinator is
//   gone coordinator         prints its port, then accepts whoever comes; heartbeat 50 ms
#include <cstdlib>
#include <future>
#include <iostream>
#include <string>

#include "transport/control/coordinator_side.h"
#include "transport/control/worker_side.h"

namespace {

int run_worker(uint16_t port, const std::string& token) {
  using namespace ebb;
  using namespace ebb::control;
  std::promise<std::string> gone;
  WorkerHandlers handlers;
  handlers.on_form = [](FormGroup, Answer<FormReply> answer) { answer(FormReply{}); };
  handlers.on_disband = [](Epoch, const std::string&) {};
  handlers.on_unit = [](const Unit&, const Answer<UnitResult>&) {
    std::cout << "unit" << std::endl;
  };
  handlers.on_describe = [](SeqId, const Answer<SequenceMap>&) {};
  handlers.on_disconnect = [&gone](const std::string& why) { gone.set_value(why); };
  WorkerHello hello;
  hello.cluster_token = token;
  hello.node = "g7/rank0";
  hello.group = "g7";
  auto link = CoordinatorLink::connect({"127.0.0.1", port}, hello, handlers,
                                       Deadline::after(Millis(10000)));
  std::cout << (link ? "joined" : link.error().text()) << std::endl;
  if (!link) return 1;
  std::cout << gone.get_future().get() << std::endl;
  return 0;
}

int run_coordinator() {
  using namespace ebb;
  using namespace ebb::control;
  CoordinatorHandlers handlers;
  handlers.on_worker = [](const std::shared_ptr<WorkerLink>&) -> Result<void> { return {}; };
  handlers.on_worker_gone = [](const std::shared_ptr<WorkerLink>&, const std::string&) {};
  handlers.on_publish = [](const PublishRequest&, const Answer<PublishReply>&) {};
  handlers.on_rendezvous_put = [](const std::string&, const std::string&) {};
  handlers.on_rendezvous_get = [](const std::string&, const Answer<std::string>&) {};
  auto server = ControlServer::listen({"127.0.0.1", 0}, "a secret", Millis(50), handlers);
  if (!server) return 1;
  std::cout << (*server)->port() << std::endl;
  std::string line;
  std::getline(std::cin, line);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string role = argc > 1 ? argv[1] : "";
  if (role == "worker" && argc == 4)
    return run_worker(static_cast<uint16_t>(std::atoi(argv[2])), argv[3]);
  if (role == "coordinator") return run_coordinator();
  return 2;
}
