// SPDX-License-Identifier: Apache-2.0
/// Generation allocates nothing for a token: counted by replacing the global operator new of this test program.
#include <atomic>
#include <cstdlib>
#include <new>

#include "scalebits/base/parallel.h"
#include "scalebits/run/decode_session.h"
#include "scalebits/run/sampler.h"
#include "tests/data.h"
#include "tests/pack/random_plan.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SCALEBITS_COUNTS_ALLOCATIONS 0  // sanitizers replace operator new themselves
#else
#define SCALEBITS_COUNTS_ALLOCATIONS 1
#endif

namespace {
std::atomic<int64_t> g_allocations{0};
}  // namespace

#if SCALEBITS_COUNTS_ALLOCATIONS
namespace {
void* allocated(size_t size, size_t alignment) {
  ++g_allocations;
  void* memory = nullptr;
  if (posix_memalign(&memory, alignment < sizeof(void*) ? sizeof(void*) : alignment, size) != 0) throw std::bad_alloc();
  return memory;
}
}  // namespace

void* operator new(size_t size) { return allocated(size, alignof(std::max_align_t)); }
void* operator new(size_t size, std::align_val_t alignment) { return allocated(size, static_cast<size_t>(alignment)); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t /*size*/) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t /*alignment*/) noexcept { std::free(memory); }
void operator delete(void* memory, size_t /*size*/, std::align_val_t /*alignment*/) noexcept { std::free(memory); }
#endif

namespace scalebits {
namespace {

struct Kind {
  const char* name;
  const char* model;
  BlockSpec spec;
  VocabBits vocab;
};

/// A model with packed layers; embedding and head packed too, or left in the dtype they are stored in.
class Allocations : public testing::TestWithParam<Kind> {};
INSTANTIATE_TEST_SUITE_P(Model, Allocations,
                         testing::Values(Kind{"Packed", "models/demo-5m", {32, 128, 128}, {4, 4}},
                                         Kind{"DenseVocabulary", "models/demo-5m", {32, 128, 128}, {}},
                                         Kind{"Experts", "tests/model/golden/moe/mixtral", {16, 16, 16}, {4, 4}}),
                         [](const auto& info) { return info.param.name; });

TEST_P(Allocations, NoneForATokenAfterTheFirst) {
  if (!SCALEBITS_COUNTS_ALLOCATIONS) GTEST_SKIP() << "skipped: a sanitizer has its own operator new";
  const auto source = test::source_dir() / GetParam().model;
  const auto checkpoint = std::make_shared<Checkpoint>(source);
  const ModelConfig config = read_hf_config(source);
  Plan plan = test::random_plan(*checkpoint, config, GetParam().spec, 7);
  test::draw_fused_orders(plan, config, false, 3);
  plan.quantizer = "rtn";
  plan.vocab = GetParam().vocab;
  const test::TempDir dir;
  write_packed(checkpoint, config, plan, {}, Json::object(), dir.path(), silent_log());
  set_num_threads(1);  // each thread keeps buffers of its own, and when it gets its first task is not known
  const auto model = open_model(dir.path());
  DecodeSession session(*model, 40);
  SamplerOptions options;
  options.repeat_penalty = 1.1;
  Sampler sampler(options);
  std::vector<TokenId> ids = {3, 1, 4, 1, 5};
  ids.reserve(64);
  session.push(ids);
  ids.push_back(sampler.sample(session.push(std::vector<TokenId>{9}), ids));
  for (int token = 0; token < 20; ++token) {
    const int64_t before = g_allocations;
    const std::span<const float> logits = session.push({&ids.back(), 1});
    EXPECT_EQ(g_allocations - before, 0) << "push of token " << token;
    const int64_t drawn = g_allocations;
    ids.push_back(sampler.sample(logits, ids));
    EXPECT_EQ(g_allocations - drawn, 0) << "sample of token " << token;
  }
  set_num_threads(0);
  const int64_t before = g_allocations;
  const std::string proof(100, 'x');
  EXPECT_EQ(g_allocations - before, 1) << proof;  // the count counts
}

}  // namespace
}  // namespace scalebits
