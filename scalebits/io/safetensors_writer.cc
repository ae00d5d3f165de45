// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <set>
#include <utility>

#include "scalebits/base/checked.h"
#include "scalebits/base/errors.h"
#include "scalebits/base/hash.h"
#include "scalebits/io/json.h"
#include "scalebits/io/posix.h"
#include "scalebits/io/safetensors.h"
#include "scalebits/io/text.h"

namespace scalebits {
namespace {

constexpr int64_t kAlignment = 64;  // a cache line and the widest vector, so that mapped tensors can be read in place
constexpr size_t kMaxHeaderBytes = 100'000'000;  // what readers accept
constexpr size_t kBufferBytes = size_t{1} << 20;
constexpr size_t kChecksumDigits = 16;
constexpr std::string_view kChecksumPrefix = "xxh3:";

std::string json_string(const std::string& text) {
  if (find_invalid_utf8(text) != std::string::npos) fail<InvalidArgument>(quote(text), "name: expected UTF-8 text.");
  return Json(text).dump();
}

int64_t spec_bytes(const TensorSpec& spec) {
  std::optional<uint64_t> bytes = static_cast<uint64_t>(dtype_bytes(spec.dtype));
  for (const int64_t size : spec.shape) {
    if (size < 0) fail<InvalidArgument>(spec.name, "shape: got a size of {}, expected at least 0.", size);
    bytes = checked_mul(*bytes, static_cast<uint64_t>(size));
    if (!bytes || *bytes > uint64_t{1} << 62) fail<InvalidArgument>(spec.name, "shape: its size in bytes overflows.");
  }
  return static_cast<int64_t>(*bytes);
}

/// The first bytes of the file: length, JSON and padding; and what has to be known to fill it up.
struct Header {
  std::string bytes;
  std::vector<int64_t> tensor_bytes;
  std::vector<size_t> checksum_at;  ///< position in `bytes` of each tensor's 16 digits; empty without checksums
  int64_t data_bytes = 0;
};

void check_names(std::span<const TensorSpec> tensors, const std::map<std::string, std::string>& metadata,
                 bool checksums) {
  if (tensors.empty()) fail<InvalidArgument>("safetensors", "tensors: got 0, expected at least 1.");
  std::set<std::string_view> names;
  for (const TensorSpec& tensor : tensors) {
    if (tensor.name == "__metadata__") fail<InvalidArgument>(tensor.name, "tensor name: this one is reserved.");
    if (!names.insert(tensor.name).second) fail<InvalidArgument>(tensor.name, "tensor name: got it twice.");
    if (checksums && metadata.contains(std::string(kChecksumPrefix) + tensor.name)) {
      fail<InvalidArgument>(tensor.name, "metadata: got an entry {}<name>, which is reserved.", kChecksumPrefix);
    }
  }
}

Header make_header(std::span<const TensorSpec> tensors, const std::map<std::string, std::string>& metadata,
                   bool checksums) {
  check_names(tensors, metadata, checksums);
  Header header;
  std::string& text = header.bytes;
  text.assign(sizeof(uint64_t), '\0');
  text += '{';
  if (!metadata.empty() || checksums) {
    text += "\"__metadata__\":{";
    const char* comma = "";
    for (const auto& [key, value] : metadata) {
      text += fmt::format("{}{}:{}", std::exchange(comma, ","), json_string(key), json_string(value));
    }
    for (const TensorSpec& tensor : tensors) {
      if (!checksums) break;
      text +=
          fmt::format("{}{}:\"", std::exchange(comma, ","), json_string(std::string(kChecksumPrefix) + tensor.name));
      header.checksum_at.push_back(text.size());
      text.append(kChecksumDigits, '0') += '"';
    }
    text += "},";
  }
  for (const TensorSpec& tensor : tensors) {
    const int64_t bytes = spec_bytes(tensor);
    const auto end = checked_add(static_cast<uint64_t>(header.data_bytes), static_cast<uint64_t>(bytes));
    if (*end > uint64_t{1} << 62) fail<InvalidArgument>(tensor.name, "shape: the file's size overflows.");
    text += fmt::format(R"({}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}},)", json_string(tensor.name),
                        dtype_name(tensor.dtype), fmt::join(tensor.shape, ","), header.data_bytes, *end);
    header.tensor_bytes.push_back(bytes);
    header.data_bytes = static_cast<int64_t>(*end);
  }
  text.back() = '}';
  text.resize(static_cast<size_t>(round_up(static_cast<int64_t>(text.size()), kAlignment)), ' ');
  const uint64_t length = text.size() - sizeof(uint64_t);
  if (length > kMaxHeaderBytes) {
    fail<InvalidArgument>("safetensors", "header: got {} bytes, expected at most {}. Write more shards.", length,
                          kMaxHeaderBytes);
  }
  for (size_t i = 0; i < sizeof(length); ++i) text[i] = static_cast<char>((length >> (8 * i)) & 0xffU);
  return header;
}

}  // namespace

int64_t safetensors_file_bytes(std::span<const TensorSpec> tensors, const std::map<std::string, std::string>& metadata,
                               bool checksums) {
  const Header header = make_header(tensors, metadata, checksums);
  return static_cast<int64_t>(header.bytes.size()) + header.data_bytes;
}

struct SafetensorsWriter::Impl {
  std::filesystem::path path;
  std::vector<TensorSpec> tensors;
  Header header;
  FileDescriptor fd;
  std::vector<std::byte> buffer;
  size_t current = 0;     ///< tensor whose turn it is
  int64_t remaining = 0;  ///< bytes of it that have not come yet
  Hasher hasher;
  bool finished = false;

  void flush() {
    write_all(fd.get(), buffer, path);
    buffer.clear();
  }

  void append(std::span<const std::byte> bytes) {
    if (buffer.size() + bytes.size() > kBufferBytes) flush();
    if (bytes.size() >= kBufferBytes) {
      write_all(fd.get(), bytes, path);
    } else {
      buffer.insert(buffer.end(), bytes.begin(), bytes.end());
    }
  }

  /// Ends the current tensor, all of whose bytes have come, and begins the next.
  void advance() {
    SCALEBITS_CHECK(remaining == 0);
    if (!header.checksum_at.empty()) {
      header.bytes.replace(header.checksum_at[current], kChecksumDigits, hasher.hex());
      hasher = Hasher();
    }
    if (++current < tensors.size()) remaining = header.tensor_bytes[current];
  }
};

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorSpec> tensors,
                                     std::map<std::string, std::string> metadata, bool checksums)
    : impl_(std::make_unique<Impl>()) {
  impl_->path = path;
  impl_->header = make_header(tensors, metadata, checksums);
  impl_->tensors = std::move(tensors);
  impl_->remaining = impl_->header.tensor_bytes.front();
  impl_->buffer.reserve(kBufferBytes);
  impl_->fd = open_for_writing(path);
  impl_->append(std::as_bytes(std::span(impl_->header.bytes)));
}

SafetensorsWriter::~SafetensorsWriter() {
  if (!impl_->finished) ::unlink(impl_->path.c_str());  // part of a file is of no use to anybody
}

void SafetensorsWriter::write(std::string_view name, std::span<const std::byte> bytes) {
  Impl& self = *impl_;
  while (self.current < self.tensors.size() && self.tensors[self.current].name != name && self.remaining == 0) {
    self.advance();
  }
  if (self.current == self.tensors.size() || self.tensors[self.current].name != name) {
    fail<InternalError>(self.path.string(), "tensor written: got {}, expected {}.", quote(name, 200),
                        self.current == self.tensors.size() ? "none" : quote(self.tensors[self.current].name, 200));
  }
  if (static_cast<int64_t>(bytes.size()) > self.remaining) {
    fail<InternalError>(self.path.string(), "tensor {}: got {} bytes too many.", quote(name, 200),
                        static_cast<int64_t>(bytes.size()) - self.remaining);
  }
  self.append(bytes);
  if (!self.header.checksum_at.empty()) self.hasher.update(bytes);
  self.remaining -= static_cast<int64_t>(bytes.size());
}

void SafetensorsWriter::finish() {
  Impl& self = *impl_;
  while (self.current < self.tensors.size()) {
    if (self.remaining != 0) {
      fail<InternalError>(self.path.string(), "tensor {}: {} bytes have not been written.",
                          quote(self.tensors[self.current].name, 200), self.remaining);
    }
    self.advance();
  }
  self.flush();
  if (!self.header.checksum_at.empty()) {
    write_all_at(self.fd.get(), std::as_bytes(std::span(self.header.bytes)), 0, self.path);
  }
  sync_and_close(std::move(self.fd), self.path);
  self.finished = true;
}

}  // namespace scalebits
