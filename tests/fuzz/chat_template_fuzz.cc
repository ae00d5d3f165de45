// SPDX-License-Identifier: Apache-2.0
/// Any bytes as a chat template: refused with a library error of bounded length, or rendered to UTF-8 of bounded size,
/// the same each time.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "scalebits/base/errors.h"
#include "scalebits/io/chat_template.h"
#include "scalebits/io/text.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

std::string render(std::string_view text) {
  const scalebits::Json tokens = {{"bos_token", "<s>"}, {"eos_token", "</s>"}};
  const scalebits::Json messages = {{{"role", "system"}, {"content", " Be brief.\n"}},
                                    {{"role", "user"}, {"content", "\xc3\xa9 <b> \"'"}},
                                    {{"role", "assistant"}, {"content", ""}, {"n", {1, 2.5, nullptr, true}}}};
  const scalebits::ChatTemplate chat(text, "fuzz", tokens);
  return chat.apply(messages, true, scalebits::Json::object(), std::tm());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const std::string first = render(text);
    require(first.size() <= (size_t{16} << 20));
    require(scalebits::find_invalid_utf8(first) == std::string::npos);
    if (first.size() < 1000) require(render(text) == first);
  } catch (const scalebits::FormatError& error) {
    require(std::string_view(error.what()).size() < 2000);
  } catch (const scalebits::Unsupported& error) {
    require(std::string_view(error.what()).size() < 2000);
  } catch (const scalebits::InvalidArgument& error) {
    require(std::string_view(error.what()).size() < 2000);
  }
  return 0;
}
