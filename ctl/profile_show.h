// profile show: a selection profile as a picture: which layers look at every token, which of them
// choose, who reads what they chose, how much.
#pragma once

#include <optional>
#include <string>

#include "ctl/cli.h"
#include "models/selection_profile.h"

namespace ebb::ctl {

enum class ProfileFormat { kPicture, kJson, kYaml };

struct ProfileStyle {
  bool utf8 = false;
  bool colour = false;
  unsigned width = 80;
};
std::string render_profile(const models::SelectionProfile& profile, const ProfileStyle& style);

/// The profile of a file, or without `path` the one that is in force. kYaml is a file that can be
/// used again; kJson has the keys of the coordinator's answer.
int run_profile_show(const Terminal& terminal, const Service& service,
                     const std::optional<std::string>& path, ProfileFormat format);

}  // namespace ebb::ctl
