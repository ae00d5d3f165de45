// SPDX-License-Identifier: Apache-2.0
#include "scalebits/report/verify.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "scalebits/base/errors.h"
#include "scalebits/base/hash.h"
#include "scalebits/base/interrupt.h"
#include "scalebits/base/parallel.h"

namespace scalebits {
namespace {

namespace fs = std::filesystem;

/// Tensors looked at between two looks at the clock and at Ctrl+C.
constexpr size_t kTensorsAtOnce = 16;

/// An element is NaN or Inf exactly when all bits of `exponent` are set.
template <class Word>
std::optional<int64_t> find_exponent(std::span<const std::byte> bytes, Word exponent) {
  const size_t n = bytes.size() / sizeof(Word);
  for (size_t i = 0; i < n; ++i) {
    Word word;
    std::memcpy(&word, bytes.data() + i * sizeof(Word), sizeof(Word));
    if ((word & exponent) == exponent) return static_cast<int64_t>(i);
  }
  return std::nullopt;
}

/// Runs `check` and keeps the message of the bad input that it finds.
template <class Check>
void collect(std::vector<std::string>& problems, Check check) {
  try {
    check();
  } catch (const FormatError& error) {
    problems.emplace_back(error.what());
  } catch (const Unsupported& error) {
    problems.emplace_back(error.what());
  }
}

class Verifier {
 public:
  explicit Verifier(const ModelWeights& weights)
      : weights_(weights), packed_(dynamic_cast<const PackedWeights*>(&weights)) {}

  Verification run(Log& log) {
    expect_tensors();
    if (packed_ != nullptr) find_unexpected();
    look_at_tensors(log);
    if (packed_ != nullptr) compare_files();
    if (const fs::path& dir = weights_.checkpoint().dir(); !tokenizer_files(dir).empty()) {
      collect(result_.problems, [&] { (void)Tokenizer(dir); });
    }
    return std::move(result_);
  }

 private:
  void expect(const std::string& name, const std::vector<int64_t>& shape) {
    expected_.insert(name);
    collect(result_.problems, [&] { (void)weights_.checkpoint().get(name, shape); });
  }

  void expect_linear(int64_t layer, Slot slot) {
    const LinearShape shape = linear_shape(weights_.config(), layer, slot);
    const std::string name = linear_name(weights_.config(), layer, slot);
    if (shape.bias) expect(name + ".bias", {shape.out_features});
    expect_matrix(name, shape.out_features, shape.in_features, [&] { return packed_->view(layer, slot); });
    if (packed_ == nullptr || !packed_->is_packed(layer, slot)) return;
    if (packed_->packed_config().reorder_mode != "fused") return;
    expected_.insert(name + ".row_perm");
    if (packed_->col_owner(layer, slot) == slot) expected_.insert(name + ".col_perm");
    collect(result_.problems, [&] { (void)packed_->order(layer, slot); });
  }

  void expect_vocab(const char* name) {
    const ModelConfig& c = weights_.config();
    expect_matrix(name, c.vocab_size, c.d_model, [&] { return packed_->vocab_view(name); });
  }

  template <class View>
  void expect_matrix(const std::string& name, int64_t out_features, int64_t in_features, View view) {
    if (packed_ == nullptr || !packed_->is_packed(name)) {
      expect(name + ".weight", {out_features, in_features});
      return;
    }
    for (const char* part : {".codes", ".bits", ".scales", ".zeros"}) expected_.insert(name + part);
    collect(result_.problems, [&] { (void)check_packed(view(), name.c_str()); });
  }

  void expect_tensors() {
    const ModelConfig& c = weights_.config();
    expect_vocab(kEmbedMatrix);
    for (int64_t layer = 0; layer < c.n_layers; ++layer) {
      const NormNames norms = norm_names(c, layer);
      for (const std::string& name : norms.residual()) expect(name, {c.d_model});
      for (const std::string& name : norms.heads()) expect(name, {c.head_dim});
      if (c.has_experts(layer)) expect(router_name(c, layer), {c.experts.n_experts, c.d_model});
      for (const Slot slot : slots(c, layer)) expect_linear(layer, slot);
    }
    expect(kFinalNormName, {c.d_model});
    if (!c.tied_embeddings) expect_vocab(kHeadMatrix);
  }

  void find_unexpected() {
    for (const std::string& name : weights_.checkpoint().names()) {
      // Old Llama checkpoints store a table that nobody reads, tied ones sometimes a second copy of the head.
      const bool second_head = name == kHeadName && weights_.config().tied_embeddings;
      const bool copied = name.ends_with(".rotary_emb.inv_freq") || second_head;
      if (!expected_.contains(name) && !copied) {
        result_.problems.push_back(fmt::format("[{}] tensor {}: got it, expected no such tensor by config.json.",
                                               weights_.checkpoint().dir().string(), name));
      }
    }
  }

  void look_at_tensors(Log& log) {
    const std::vector<std::string> names = weights_.checkpoint().names();
    for (size_t first = 0; first < names.size(); first += kTensorsAtOnce) {
      throw_if_stopped();
      log.progress("verifying tensors", static_cast<int64_t>(first), static_cast<int64_t>(names.size()));
      const size_t n = std::min(kTensorsAtOnce, names.size() - first);
      std::vector<std::vector<std::string>> found(n);
      parallel_for(static_cast<int64_t>(n), [&](int64_t i) {
        look_at(weights_.checkpoint().get(names[first + static_cast<size_t>(i)]), found[static_cast<size_t>(i)]);
      });
      for (auto& list : found) std::move(list.begin(), list.end(), std::back_inserter(result_.problems));
    }
    log.progress("verifying tensors", static_cast<int64_t>(names.size()), static_cast<int64_t>(names.size()));
    result_.tensors = static_cast<int64_t>(names.size());
    result_.bytes = weights_.checkpoint().tensor_bytes();
    for (const auto& [key, value] : weights_.checkpoint().metadata()) {
      if (!key.starts_with("xxh3:")) continue;
      if (weights_.checkpoint().contains(key.substr(5))) {
        ++result_.checksums;
      } else if (key.ends_with("_perm")) {
        // Without it the matrix would be read in another order: for all other tensors, that they are missing shows.
        result_.problems.push_back(
            fmt::format("[{}] permutation: missing, expected one with checksum {}.", key.substr(5), value));
      }
    }
  }

  void look_at(const TensorView& tensor, std::vector<std::string>& problems) const {
    const auto& metadata = weights_.checkpoint().metadata();
    const auto checksum = metadata.find("xxh3:" + tensor.name);
    if (checksum != metadata.end()) {
      const std::string hex = hash_hex(tensor.bytes);
      if (hex != checksum->second) {
        problems.push_back(fmt::format("[{}] checksum: got {}, expected {}. The file was damaged or edited.",
                                       tensor.name, hex, checksum->second));
      }
    } else if (packed_ != nullptr) {
      problems.push_back(fmt::format("[{}] checksum: missing, expected metadata xxh3:{}.", tensor.name, tensor.name));
    }
    if (const auto index = first_non_finite(tensor)) {
      problems.push_back(
          fmt::format("[{}] element {}: got NaN or Inf, expected a finite number.", tensor.name, *index));
    }
    weights_.checkpoint().release(tensor);
  }

  void compare_files() {
    for (const auto& [name, checksum] : packed_->packed_config().files) {
      const fs::path path = weights_.checkpoint().dir() / name;
      if (fs::path(name).filename() != name || name == "." || name == "..") {
        result_.problems.push_back(
            fmt::format("[config.json] quantization_config.files: got \"{}\", expected the plain "
                        "name of a file.",
                        name));
      } else if (!fs::exists(path)) {
        result_.problems.push_back(
            fmt::format("[{}] file: missing, expected one with checksum {}.", path.string(), checksum));
      } else {
        const std::string hex = hash_hex(MappedFile(path).bytes());
        ++result_.checksums;
        if (hex != checksum) {
          result_.problems.push_back(fmt::format("[{}] checksum: got {}, expected {}. The file was damaged or edited.",
                                                 path.string(), hex, checksum));
        }
      }
    }
  }

  const ModelWeights& weights_;
  const PackedWeights* packed_;
  std::set<std::string> expected_;
  Verification result_;
};

}  // namespace

std::optional<int64_t> first_non_finite(const TensorView& tensor) {
  switch (tensor.dtype) {
    case DType::kF16:
      return find_exponent<uint16_t>(tensor.bytes, 0x7c00U);
    case DType::kBF16:
      return find_exponent<uint16_t>(tensor.bytes, 0x7f80U);
    case DType::kF32:
      return find_exponent<uint32_t>(tensor.bytes, 0x7f800000U);
    case DType::kF64:
      return find_exponent<uint64_t>(tensor.bytes, 0x7ff0000000000000ULL);
    default:
      return std::nullopt;
  }
}

Verification verify_model(const fs::path& dir, Log& log) { return Verifier(*open_model(dir)).run(log); }

}  // namespace scalebits
