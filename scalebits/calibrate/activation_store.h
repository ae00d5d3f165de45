// SPDX-License-Identifier: Apache-2.0
/// Activations kept between the forward and the backward pass: in memory up to a limit, beyond it in an unnamed file.
#pragma once

#include <filesystem>
#include <vector>

#include "scalebits/model/torch.h"

namespace scalebits {

/// Fixed number of slots, each an f32 tensor. Different slots may be written and read from different threads.
class ActivationStore {
 public:
  /// @param n_slots    number of tensors; @param slot_bytes  of the largest one
  /// @param ram_bytes  if all slots together need more, they go to a file in `spill_dir` that has no name and vanishes
  ///                   with the process. @throws IoError
  ActivationStore(int64_t n_slots, int64_t slot_bytes, int64_t ram_bytes, const std::filesystem::path& spill_dir);
  ~ActivationStore();
  ActivationStore(const ActivationStore&) = delete;
  ActivationStore& operator=(const ActivationStore&) = delete;

  void put(int64_t slot, const at::Tensor& x);  ///< @throws IoError (disk full)
  [[nodiscard]] at::Tensor get(int64_t slot) const;
  [[nodiscard]] bool spilled() const { return fd_ >= 0; }

 private:
  struct Slot {
    at::Tensor tensor;           ///< in memory
    std::vector<int64_t> shape;  ///< in the file
  };
  std::vector<Slot> slots_;
  int64_t slot_bytes_;
  int fd_ = -1;
};

}  // namespace scalebits
