// SPDX-License-Identifier: Apache-2.0
/// Filters of lists and dicts.
#pragma once

#include "scalebits/io/jinja_calls.h"

namespace scalebits::jinja {

/// Nothing when there is no such filter.
std::optional<Value> list_filter(const std::string& name, const Value& value, const Call& call, Work& work);

}  // namespace scalebits::jinja
