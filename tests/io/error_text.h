// SPDX-License-Identifier: Apache-2.0
/// Tests of error messages: what a call throws, and of exactly which class.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <exception>
#include <functional>
#include <string>
#include <typeinfo>

namespace scalebits::test {

/// Message of the E that `call` throws; fails the test when it throws nothing or an exception of another class.
template <class E>
std::string error_text(const std::function<void()>& call) {
  try {
    call();
  } catch (const E& error) {
    EXPECT_EQ(typeid(error), typeid(E)) << error.what();
    return error.what();
  } catch (const std::exception& error) {
    ADD_FAILURE() << "another class: " << error.what();
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

}  // namespace scalebits::test
