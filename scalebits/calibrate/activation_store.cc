// SPDX-License-Identifier: Apache-2.0
#include "scalebits/calibrate/activation_store.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "scalebits/base/errors.h"

namespace scalebits {

ActivationStore::ActivationStore(int64_t n_slots, int64_t slot_bytes, int64_t ram_bytes,
                                 const std::filesystem::path& spill_dir)
    : slots_(static_cast<size_t>(n_slots)), slot_bytes_(slot_bytes) {
  if (n_slots * slot_bytes <= ram_bytes) return;
  fd_ = open(spill_dir.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd_ < 0) {
    fail<IoError>(spill_dir.string(), "cannot make a temporary file for {} MB of activations: {}. Use --work DIR.",
                  n_slots * slot_bytes >> 20, std::strerror(errno));
  }
}

ActivationStore::~ActivationStore() {
  if (fd_ >= 0) close(fd_);
}

void ActivationStore::put(int64_t slot, const at::Tensor& x) {
  SCALEBITS_CHECK(x.scalar_type() == at::kFloat && x.numel() * 4 <= slot_bytes_);
  Slot& s = slots_[static_cast<size_t>(slot)];
  if (fd_ < 0) {
    s.tensor = x;
    return;
  }
  const at::Tensor contiguous = x.contiguous();
  s.shape = x.sizes().vec();
  const auto* data = reinterpret_cast<const char*>(contiguous.data_ptr<float>());
  for (int64_t done = 0, total = x.numel() * 4; done < total;) {
    const ssize_t n = pwrite(fd_, data + done, static_cast<size_t>(total - done), slot * slot_bytes_ + done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0)
      fail<IoError>("activations", "cannot write to the temporary file: {}. Use --work DIR.", std::strerror(errno));
    done += n;
  }
}

at::Tensor ActivationStore::get(int64_t slot) const {
  const Slot& s = slots_[static_cast<size_t>(slot)];
  if (fd_ < 0) return s.tensor;
  at::Tensor x = at::empty(s.shape, at::kFloat);
  auto* data = reinterpret_cast<char*>(x.data_ptr<float>());
  for (int64_t done = 0, total = x.numel() * 4; done < total;) {
    const ssize_t n = pread(fd_, data + done, static_cast<size_t>(total - done), slot * slot_bytes_ + done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0)
      fail<IoError>("activations", "cannot read the temporary file: {}", n < 0 ? std::strerror(errno) : "short");
    done += n;
  }
  return x;
}

}  // namespace scalebits
