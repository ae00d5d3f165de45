// SPDX-License-Identifier: Apache-2.0
#include "scalebits/base/errors.h"
#include "scalebits/io/safetensors.h"
#include "tests/data.h"
#include "tests/io/error_text.h"
#include "tests/io/raw_safetensors.h"

namespace scalebits {
namespace {

using test::error_text;
using test::one_tensor_file;
using test::TempDir;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kIndex = "model.safetensors.index.json";

class CheckpointDir : public testing::Test {
 protected:
  void put(const std::string& name, const std::string& content) { write_text_file(dir_ / name, content); }
  /// Two shards: "a" (3 bytes) in 1.safetensors, "b" (5 bytes) in 2.safetensors.
  void put_shards() {
    put("1.safetensors", one_tensor_file("a", "aaa"));
    put("2.safetensors", one_tensor_file("b", "bbbbb"));
  }
  void put_index(const std::string& weight_map) {
    put(kIndex, "{\"metadata\": {}, \"weight_map\": " + weight_map + "}");
  }
  std::string refusal() {
    return error_text<FormatError>([&] { const Checkpoint checkpoint(dir_.path()); });
  }
  TempDir dir_;
};

TEST_F(CheckpointDir, ReadsShardsThroughTheIndex) {
  put_shards();
  put_index(R"({"b": "2.safetensors", "a": "1.safetensors"})");
  const Checkpoint checkpoint(dir_.path());
  EXPECT_THAT(checkpoint.names(), ElementsAre("a", "b"));
  EXPECT_TRUE(checkpoint.contains("b"));
  EXPECT_FALSE(checkpoint.contains("c"));
  EXPECT_EQ(checkpoint.tensor_bytes(), 8);
  EXPECT_EQ(checkpoint.files().size(), 2U);
  const auto on_disk =
      std::filesystem::file_size(dir_ / "1.safetensors") + std::filesystem::file_size(dir_ / "2.safetensors");
  EXPECT_EQ(checkpoint.file_bytes(), static_cast<int64_t>(on_disk));
  const TensorView& b = checkpoint.get("b");
  EXPECT_EQ(static_cast<char>(b.bytes[4]), 'b');
  checkpoint.release(b);
  EXPECT_EQ(static_cast<char>(b.bytes[4]), 'b');
}

/// q and k, of one row and of two, stored as one tensor qk [3, 2].
class SplitDir : public CheckpointDir {
 protected:
  void put_fused(const std::string& name, const std::string& shape) {
    put("1.safetensors", test::raw_safetensors(fmt::format(R"({{"{}":{{"dtype":"U8","shape":[{}],"data_offsets":[0,6]}},
        "z":{{"dtype":"U8","shape":[1],"data_offsets":[6,7]}}}})",
                                                           name, shape),
                                               "abcdefz"));
    put_index(fmt::format(R"({{"{}": "1.safetensors", "z": "1.safetensors"}})", name));
  }
  const std::vector<RowSplit> splits_ = {{".qk", {{".q", 1}, {".k", 2}}}};
};

TEST_F(SplitDir, ShowsThePartsOfAFusedTensor) {
  put_fused("a.qk", "3,2");
  const Checkpoint checkpoint(dir_.path(), splits_);
  EXPECT_THAT(checkpoint.names(), ElementsAre("a.k", "a.q", "z"));
  EXPECT_THAT(checkpoint.files()[0].tensors(), testing::SizeIs(3));
  const TensorView& k = checkpoint.get("a.k", std::vector<int64_t>{2, 2});
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(k.bytes.data()), k.bytes.size()), "cdef");
  EXPECT_EQ(static_cast<char>(checkpoint.get("a.q").bytes[1]), 'b');
  EXPECT_EQ(checkpoint.tensor_bytes(), 7);
  checkpoint.release(k);
}

TEST_F(SplitDir, RefusesAFusedTensorOfOtherRowsAndNamesAMissingOne) {
  for (const char* shape : {"2,3", "6"}) {
    put_fused("a.qk", shape);
    EXPECT_THAT(error_text<FormatError>([&] { const Checkpoint checkpoint(dir_.path(), splits_); }),
                AllOf(HasSubstr("tensor \"a.qk\" shape: got ["), HasSubstr("expected 3 rows")));
  }
  put_fused("b", "3,2");
  const Checkpoint checkpoint(dir_.path(), splits_);
  EXPECT_THAT(error_text<FormatError>([&] { (void)checkpoint.get("a.k"); }),
              HasSubstr("tensor \"a.k\": missing. It is a part of a.qk, which is missing too."));
}

TEST_F(CheckpointDir, MergesTheMetadataOfShards) {
  put("1.safetensors",
      test::raw_safetensors(R"({"__metadata__":{"x":"1"},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})", ""));
  put("2.safetensors",
      test::raw_safetensors(R"({"__metadata__":{"y":"2"},"b":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})", ""));
  put_index(R"({"a": "1.safetensors", "b": "2.safetensors"})");
  const Checkpoint checkpoint(dir_.path());
  EXPECT_EQ(checkpoint.metadata().at("x"), "1");
  EXPECT_EQ(checkpoint.metadata().at("y"), "2");
}

TEST_F(CheckpointDir, ViewsSurviveAMove) {
  put("model.safetensors", one_tensor_file("a", "xyz"));
  Checkpoint first(dir_.path());
  const TensorView* view = &first.get("a");
  const Checkpoint second(std::move(first));
  EXPECT_EQ(&second.get("a"), view);
  EXPECT_EQ(static_cast<char>(view->bytes[2]), 'z');
  second.release(*view);
}

TEST_F(CheckpointDir, SaysThatThereIsNoDirectory) {
  EXPECT_THAT(error_text<IoError>([] { const Checkpoint checkpoint("/nowhere/model"); }),
              HasSubstr("[/nowhere/model] no such directory"));
  put("model.gguf", "x");
  EXPECT_THAT(error_text<FormatError>([&] { const Checkpoint checkpoint(dir_ / "model.gguf"); }),
              HasSubstr("got a file, expected the directory"));
}

TEST_F(CheckpointDir, SaysWhichOtherWeightsAreThere) {
  EXPECT_THAT(refusal(), AllOf(HasSubstr("got neither model.safetensors nor model.safetensors.index.json"),
                               HasSubstr("Give the directory of a Hugging Face checkpoint")));
  put("pytorch_model.bin", "x");
  EXPECT_THAT(refusal(), HasSubstr("There is pytorch_model.bin, which is not read"));
  put("a.gguf", "x");
  EXPECT_THAT(refusal(), HasSubstr("There is a.gguf and 1 more, which is not read"));
}

TEST_F(CheckpointDir, RefusesAMissingShard) {
  put("1.safetensors", one_tensor_file("a", "aaa"));
  put_index(R"({"a": "1.safetensors", "b": "2.safetensors"})");
  EXPECT_THAT(refusal(), HasSubstr("shard \"2.safetensors\": missing"));
}

TEST_F(CheckpointDir, RefusesATensorInTwoShards) {
  put("1.safetensors", one_tensor_file("a", "aaa"));
  put("2.safetensors", test::raw_safetensors(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                                             R"("b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                                             "ab"));
  put_index(R"({"a": "1.safetensors", "b": "2.safetensors"})");
  EXPECT_THAT(refusal(), HasSubstr("tensor \"a\": got it in both 1.safetensors and 2.safetensors"));
}

TEST_F(CheckpointDir, RefusesAnIndexThatNamesWhatAShardDoesNotHold) {
  put_shards();
  put_index(R"({"a": "1.safetensors", "b": "2.safetensors", "c": "2.safetensors"})");
  EXPECT_THAT(refusal(), HasSubstr("tensor \"c\": expected in 2.safetensors, which does not hold it"));
  put_index(R"({"a": "2.safetensors", "b": "1.safetensors"})");
  EXPECT_THAT(refusal(), HasSubstr("tensor \"a\": expected in 2.safetensors, which does not hold it"));
}

TEST_F(CheckpointDir, RefusesAnIndexThatMissesWhatAShardHolds) {
  put("1.safetensors", test::raw_safetensors(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                                             R"("b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                                             "ab"));
  put_index(R"({"a": "1.safetensors"})");
  EXPECT_THAT(refusal(), HasSubstr("tensor \"b\": missing, but 1.safetensors holds it"));
}

TEST_F(CheckpointDir, RefusesShardNamesThatLeaveTheDirectory) {
  for (const char* name : {"../x.safetensors", "/etc/passwd", "..", ".", "", "a/b", "a\\\\b", "a\\u0000b"}) {
    put_index(fmt::format(R"({{"a": "{}"}})", name));
    EXPECT_THAT(refusal(), HasSubstr("expected the plain name of a file in the same directory")) << name;
  }
}

TEST_F(CheckpointDir, RefusesAMalformedIndex) {
  put(kIndex, "[]");
  EXPECT_THAT(refusal(), HasSubstr("weight_map: missing, expected an object"));
  put(kIndex, "{}");
  EXPECT_THAT(refusal(), HasSubstr("weight_map: missing, expected an object"));
  put_index("{}");
  EXPECT_THAT(refusal(), HasSubstr("weight_map: got 0 tensors, expected at least 1"));
  put_index(R"({"a": 1})");
  EXPECT_THAT(refusal(), HasSubstr("weight_map \"a\": got number, expected a file name"));
  put_index(R"({"a": "1.safetensors", "a": "1.safetensors"})");
  EXPECT_THAT(refusal(), HasSubstr("\"a\": got it twice"));
}

TEST(Checkpoint, NamesTheNearestTensor) {
  const Checkpoint checkpoint(test::demo_model());
  EXPECT_THAT(error_text<FormatError>([&] { (void)checkpoint.get("model.layers.3.mlp.up_prj.weight"); }),
              HasSubstr("tensor \"model.layers.3.mlp.up_prj.weight\": missing. The nearest name is "
                        "\"model.layers.3.mlp.up_proj.weight\"."));
  EXPECT_THAT(error_text<FormatError>([&] { (void)checkpoint.get(std::string(100'000, 'x')); }), HasSubstr("missing."));
}

TEST(Checkpoint, ChecksShapes) {
  const Checkpoint checkpoint(test::demo_model());
  const std::vector<int64_t> right = {4096, 256}, wrong = {256, 4096}, longer = {4096, 256, 1};
  EXPECT_EQ(checkpoint.get("model.embed_tokens.weight", right).n_elements(), 4096 * 256);
  EXPECT_THAT(error_text<FormatError>([&] { (void)checkpoint.get("model.embed_tokens.weight", wrong); }),
              HasSubstr("tensor \"model.embed_tokens.weight\" shape: got [4096, 256], expected [256, 4096]"));
  EXPECT_THROW((void)checkpoint.get("model.embed_tokens.weight", longer), FormatError);
}

TEST(Checkpoint, ReadsTheDemoModel) {
  const Checkpoint checkpoint(test::demo_model());
  EXPECT_EQ(checkpoint.names().size(), 56U);
  EXPECT_EQ(checkpoint.tensor_bytes(), 10361344);
  EXPECT_EQ(checkpoint.file_bytes(), 10367384);
}

}  // namespace
}  // namespace scalebits
