// SPDX-License-Identifier: Apache-2.0
#include "scalebits/base/hash.h"

#include <fmt/format.h>
#include <xxhash.h>

namespace scalebits {

struct Hasher::State {
  XXH3_state_t* xxh = XXH3_createState();
  State() { XXH3_64bits_reset(xxh); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { XXH3_freeState(xxh); }
};

Hasher::Hasher() : state_(std::make_unique<State>()) {}
Hasher::~Hasher() = default;
Hasher::Hasher(Hasher&&) noexcept = default;
Hasher& Hasher::operator=(Hasher&&) noexcept = default;

void Hasher::update(std::span<const std::byte> bytes) { XXH3_64bits_update(state_->xxh, bytes.data(), bytes.size()); }
void Hasher::update(std::string_view text) { update(std::as_bytes(std::span(text))); }
std::string Hasher::hex() const { return fmt::format("{:016x}", XXH3_64bits_digest(state_->xxh)); }

uint64_t hash_bytes(std::span<const std::byte> bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }
std::string hash_hex(std::span<const std::byte> bytes) { return fmt::format("{:016x}", hash_bytes(bytes)); }
std::string hash_hex(std::string_view text) { return hash_hex(std::as_bytes(std::span(text))); }

}  // namespace scalebits
