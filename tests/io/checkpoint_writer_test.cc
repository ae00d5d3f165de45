// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/checkpoint_writer.h"

#include <gmock/gmock.h>

#include "scalebits/io/json.h"
#include "tests/data.h"

namespace scalebits {
namespace {

const std::vector<TensorSpec> kSpecs = {
    {"a", DType::kU8, {100}}, {"b", DType::kU8, {100}}, {"c", DType::kU8, {300}}, {"d", DType::kU8, {50}}};

void write_all_tensors(CheckpointWriter& writer) {
  for (size_t i = 0; i < kSpecs.size(); ++i) {
    const std::vector<std::byte> bytes(static_cast<size_t>(kSpecs[i].shape[0]), std::byte(i + 1));
    writer.write(kSpecs[i].name, bytes);
  }
  writer.finish();
}

TEST(CheckpointWriter, CutsShardsThatTheReaderFindsThroughTheIndex) {
  const test::TempDir dir;
  CheckpointWriter writer(dir.path(), kSpecs, /*checksums=*/true, /*max_shard_bytes=*/250);
  write_all_tensors(writer);
  const Checkpoint read(dir.path());
  EXPECT_EQ(read.files().size(), 3U);  // a b | c, larger than a shard | d
  EXPECT_THAT(read.names(), testing::ElementsAre("a", "b", "c", "d"));
  for (size_t i = 0; i < kSpecs.size(); ++i) EXPECT_EQ(read.get(kSpecs[i].name).bytes[7], std::byte(i + 1));
  EXPECT_EQ(read_json(dir / "model.safetensors.index.json")["metadata"]["total_size"], 550);
  EXPECT_EQ(read.file_bytes(), checkpoint_file_bytes(kSpecs, true, 250));
}

TEST(CheckpointWriter, WritesOnePlainFileWhenItFits) {
  const test::TempDir dir;
  CheckpointWriter writer(dir.path(), kSpecs, /*checksums=*/false);
  write_all_tensors(writer);
  EXPECT_TRUE(std::filesystem::exists(dir / "model.safetensors"));
  EXPECT_FALSE(std::filesystem::exists(dir / "model.safetensors.index.json"));
  EXPECT_EQ(Checkpoint(dir.path()).file_bytes(), checkpoint_file_bytes(kSpecs, false));
}

TEST(CheckpointWriter, CopiesTokenizerFilesButNoWeights) {
  const test::TempDir from, to;
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "LICENSE", "pytorch_model.bin", "config.json",
                           "model.safetensors", "tokenizer.safetensors", "README.md"}) {
    write_text_file(from / name, std::string("bytes of ") + name);
  }
  EXPECT_THAT(copy_companion_files(from.path(), to.path()),
              testing::ElementsAre("LICENSE", "tokenizer.json", "tokenizer_config.json"));
  EXPECT_EQ(read_text_file(to / "tokenizer.json"), "bytes of tokenizer.json");
  EXPECT_FALSE(std::filesystem::exists(to / "config.json"));
}

}  // namespace
}  // namespace scalebits
