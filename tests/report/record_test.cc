// SPDX-License-Identifier: Apache-2.0
#include "scalebits/report/record.h"

#include <gmock/gmock.h>

#include "scalebits/base/errors.h"
#include "scalebits/report/build_info.h"
#include "tests/data.h"

namespace scalebits {
namespace {

TEST(Record, HasWhatIsNeededToRepeatTheRun) {
  const Json record = make_record("eval ppl", {"eval", "ppl", "model"}, {{"perplexity", 3.5}});
  EXPECT_EQ(record["command"], "eval ppl");
  EXPECT_EQ(record["arguments"], Json({"eval", "ppl", "model"}));
  EXPECT_EQ(record["result"]["perplexity"], 3.5);
  EXPECT_THAT(record["version"].get<std::string>(), testing::MatchesRegex("[0-9]+\\.[0-9]+\\.[0-9]+"));
  EXPECT_THAT(record["commit"].get<std::string>(), testing::MatchesRegex("unknown|[0-9a-f]+\\+?"));
  EXPECT_FALSE(record["machine"]["cpu"].get<std::string>().empty());
  EXPECT_GE(record["machine"]["cores"].get<int>(), 1);
  EXPECT_GT(record["machine"]["memory_bytes"].get<int64_t>(), int64_t{1} << 20);
  EXPECT_FALSE(record["machine"]["isa"].get<std::string>().empty());
}

TEST(Record, IsWrittenWholeAndReadBack) {
  const test::TempDir dir;
  const Json record = make_record("verify", {}, {{"sound", true}});
  write_record(dir / "record.json", record);
  EXPECT_EQ(read_json(dir / "record.json"), record);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir.path()), {}), 1);  // no temporary is left
}

TEST(Record, SurvivesArgumentsThatAreNotUtf8) {
  const test::TempDir dir;
  write_record(dir / "record.json", make_record("generate", {"caf\xe9"}, {}));
  EXPECT_EQ(read_json(dir / "record.json")["arguments"][0], "caf\xef\xbf\xbd");  // U+FFFD
}

TEST(Record, CannotBeWrittenIntoADirectoryThatIsNotThere) {
  EXPECT_THROW(write_record("/no/such/directory/record.json", Json::object()), IoError);
}

}  // namespace
}  // namespace scalebits
