// SPDX-License-Identifier: Apache-2.0
/// The demo model with a chat template.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/data.h"

namespace scalebits::test {

/// What is written behind "assistant:" is the answer itself, so that its tokens are those that were drawn.
inline const std::string kChatTemplate =
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' and 'forbidden' in m.content %}"
    "{{ raise_exception('no such system message') }}{% endif %}{{ m.role }}:{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}\n";

/// A directory whose files are links to the demo model's, and the template.
inline void make_chat_model(const std::filesystem::path& dir) {
  std::filesystem::create_directory(dir);
  for (const auto& file : std::filesystem::directory_iterator(demo_model())) {
    std::filesystem::create_symlink(file.path(), dir / file.path().filename());
  }
  std::ofstream(dir / "chat_template.jinja") << kChatTemplate;
}

}  // namespace scalebits::test
