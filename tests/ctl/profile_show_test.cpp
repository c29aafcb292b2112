#include "ctl/profile_show.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/profile_json.h"
#include "tests/cli/fixture.h"

namespace ebb::ctl {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

models::SelectionProfile twelve_layers() {
  models::SelectionProfile profile;
  profile.name = "twelve";
  profile.model_name = "some \x1b[2J model";
  profile.layers = 12;
  profile.full = {0};
  profile.anchors = {1, 7};
  profile.budget_min = 300;
  profile.window = 128;
  return profile;
}

TEST(ProfileShow, ShowsWhoReadsEverythingAndWhoReadsWhoseSet) {
  const std::string text = render_profile(twelve_layers(), {});
  EXPECT_THAT(text, AllOf(HasSubstr("layers  FA.....A....\n        0    5    10\n"),
                          HasSubstr("A anchor  F full  . follower"),
                          HasSubstr("0     0       full      every token\n"),
                          HasSubstr("1     1       anchor    every token, and chooses\n"),
                          HasSubstr("2     2-6     follower  what layer 1 chose\n"),
                          HasSubstr("4     8-11    follower  what layer 7 chose\n"),
                          HasSubstr("at least 300; 4 sinks and a window of 128"),
                          HasSubstr("3 of 12 layers read every token")));
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
}

TEST(ProfileShow, ShowsHowTheBudgetIsDealt) {
  models::SelectionProfile profile = twelve_layers();
  EXPECT_THAT(render_profile(profile, {}), Not(HasSubstr("shares")));
  profile.budget_weights = {1, 1, 0.5, 0.25, 0.7, 1.8125, 1, 2, 4, 1, 1, 1};
  EXPECT_THAT(render_profile(profile, {}),
              AllOf(HasSubstr("layers  FA.....A....\nshares  442137489444\n        0 "),
                    HasSubstr("from 0.25 to 4; above in quarters")));
  EXPECT_THAT(render_profile(profile, {.utf8 = true, .colour = false, .width = 80}),
              HasSubstr("shares  ▄▄▂▁▃▇▄██▄▄▄\n"));
}

TEST(ProfileShow, LongModelsTakeSeveralLines) {
  models::SelectionProfile profile = twelve_layers();
  profile.layers = 25;
  const std::string text = render_profile(profile, {false, false, 20});
  EXPECT_THAT(text, AllOf(HasSubstr("layers  FA.....A..\n        0    5\n"),
                          HasSubstr("layers  ..........\n        10   15\n"),
                          HasSubstr("layers  .....\n        20\n")));
}

TEST(ProfileShow, AProfileWithoutAnchorsIsDense) {
  const std::string text = render_profile(models::dense_profile(4, "m"), {});
  EXPECT_THAT(text, AllOf(HasSubstr("layers  FFFF\n"), HasSubstr("dense attention only")));
}

TEST(ProfileShow, AsksTheCoordinatorOrReadsAFile) {
  models::SelectionProfile in_force = twelve_layers();
  in_force.model_name = "in force";
  FakeService fake([&](const http::Request& request) {
    EXPECT_EQ(request.path, "/admin/v1/profile");
    return json_answer(200, models::profile_json(in_force));
  });
  KeptTerminal kept;
  EXPECT_EQ(run_profile_show(kept.terminal, fake.service(), std::nullopt, ProfileFormat::kYaml),
            kOk);
  EXPECT_EQ(kept.out.str(), models::print_selection_profile(in_force));
  models::SelectionProfile other = in_force;
  other.model_name = "other";
  const test::TempDir dir;
  const std::string path = dir.file("p.yaml", models::print_selection_profile(other));
  KeptTerminal from_file;
  EXPECT_EQ(run_profile_show(from_file.terminal, fake.service(), path, ProfileFormat::kJson), kOk);
  EXPECT_THAT(from_file.out.str(), HasSubstr("\"model_name\":\"other\""));
  EXPECT_EQ(fake.requests(), 1);
}

TEST(ProfileShow, SaysWhatIsWrong) {
  FakeService fake([](const http::Request&) { return json_answer(200, "{\"kind\":\"Status\"}"); });
  KeptTerminal kept;
  EXPECT_EQ(run_profile_show(kept.terminal, fake.service(), std::nullopt, ProfileFormat::kPicture),
            kFailed);
  EXPECT_THAT(kept.err.str(), HasSubstr("not a SelectionProfile"));
  EXPECT_EQ(run_profile_show(kept.terminal, fake.service(), "/none.yaml", ProfileFormat::kPicture),
            kNotThere);
}

}  // namespace
}  // namespace ebb::ctl
