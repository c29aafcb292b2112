// The words that command-line tools share (terminal, service, progress), as the commands of ebbctl
// say them: Terminal, not cli::Terminal.
#pragma once

#include "cli/progress.h"
#include "cli/service.h"
#include "cli/stop.h"
#include "cli/terminal.h"

namespace ebb::ctl {
using namespace cli;
}  // namespace ebb::ctl
