#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Proves that every lint rule can fail: each bad snippet must be reported at its line, and the good tree must pass."""
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import unittest

LINT = pathlib.Path(__file__).resolve().parent
SPDX = "// SPDX-License-Identifier: Apache-2.0\n"
HEADER = SPDX + "#pragma once\n"

# A tree that breaks no rule; every bad case adds one file to it or replaces one.
GOOD = {
    "scalebits/base/errors.h": HEADER,
    "scalebits/base/errors.cc": SPDX + '#include "scalebits/base/errors.h"\n\n#include <string>\n',
    "scalebits/format/grid.h": HEADER + '#include "scalebits/base/errors.h"\n',
    "scalebits/kernels/kernels.h": HEADER + "#include <cstdint>\n",
    "scalebits/kernels/avx2.cc": SPDX + '#include <immintrin.h>\n\n#include "scalebits/kernels/kernels.h"\n',
    "scalebits/quantize/rtn.h": HEADER + '#include "scalebits/kernels/kernels.h"\n',
    "scalebits/io/json.h": HEADER + "#include <nlohmann/json.hpp>\n",
    "scalebits/model/torch.h": HEADER + "#include <torch/torch.h>\n",
    "scalebits/search/search.h": HEADER + '#include "scalebits/model/torch.h"\n#include "scalebits/quantize/rtn.h"\n',
    "cli/main.cc": SPDX + '#include <CLI/CLI.hpp>\n\n#include "scalebits/search/search.h"\n',
    "tests/base/errors_test.cc": SPDX + '#include <gtest/gtest.h>\n\n#include "scalebits/base/errors.h"\n'
                                 '// #include "scalebits/no/such.h"\nTEST(Errors, Work) {}\n',
    "tools/count.py": "#!/usr/bin/env python3\n# SPDX-License-Identifier: Apache-2.0\n",
    "CMakeLists.txt": "option(SCALEBITS_CUDA OFF)\n",
    "docs/format.md": "# The format\n\n## Codes, `packed`\n",
    "README.md": "[format](docs/format.md#codes-packed) [web](https://example.org/x) `[no](no.md)`\n\n"
                 "```\n[no](no.md)\n```\n\n![here][a]\n\n[a]: docs\n",
}

LAYER_CASES = {
    "base to format": ("scalebits/base/errors.h", HEADER + '#include "scalebits/format/grid.h"\n', 3, "to its right"),
    "kernels to quantize": ("scalebits/kernels/a.h", HEADER + '#include "scalebits/quantize/rtn.h"\n', 3,
                            "to its right"),
    "quantize to io": ("scalebits/quantize/a.h", HEADER + '#include "scalebits/io/json.h"\n', 3, "to its right"),
    "io to model": ("scalebits/io/a.cc", SPDX + '#include "scalebits/model/torch.h"\n', 2, "to its right"),
    "torch in io": ("scalebits/io/a.cc", SPDX + "\n#include <torch/torch.h>\n", 3, "free of torch"),
    "ATen in quantize": ("scalebits/quantize/a.cc", SPDX + "#  include <ATen/ATen.h>\n", 2, "free of torch"),
    "c10 in kernels": ("scalebits/kernels/a.cc", SPDX + "#include <c10/util/Half.h>\n", 2, "free of torch"),
    "json outside json.h": ("scalebits/io/a.cc", SPDX + "#include <nlohmann/json.hpp>\n", 2,
                            "only in scalebits/io/json.h"),
    "CLI11 outside cli": ("scalebits/io/a.cc", SPDX + "#include <CLI/App.hpp>\n", 2, "only in cli/"),
    "gtest outside tests": ("scalebits/base/a.cc", SPDX + "#include <gtest/gtest.h>\n", 2, "only in tests/"),
    "gmock in bench": ("bench/a.cc", SPDX + "#include <gmock/gmock.h>\n", 2, "only in tests/"),
    "own header second": ("scalebits/base/errors.cc", SPDX + '#include <string>\n#include "scalebits/base/errors.h"\n',
                          2, 'expected "scalebits/base/errors.h"'),
    "own header missing": ("scalebits/base/errors.cc", SPDX, 1, "first include is nothing"),
    "relative path": ("scalebits/base/a.cc", SPDX + '#include "errors.h"\n', 2, "repository root"),
    "vector in an ISA file": ("scalebits/kernels/avx2.cc", SPDX + "#include <vector>\n", 2, "an ISA file"),
    "no pragma once": ("scalebits/base/a.h", SPDX, 1, "no #pragma once"),
    "pragma once in a comment": ("scalebits/base/a.h", SPDX + "/*\n#pragma once\n*/\n", 1, "no #pragma once"),
    "no SPDX": ("scalebits/base/a.cc", "\n" + SPDX, 1, "first line"),
    "no SPDX in a script": ("tools/a.py", "import sys\n", 1, "first two lines"),
    "file utils": ("scalebits/base/utils.h", HEADER, 1, "says nothing"),
    "folder common": ("scalebits/common/a.h", HEADER, 1, "says nothing"),
    "file misc.py": ("tools/misc.py", GOOD["tools/count.py"], 1, "says nothing"),
    "not ASCII": ("scalebits/base/a.cc", SPDX + "// caf\u00e9\n", 2, "not ASCII"),
    "product by libtorch": ("scalebits/model/a.cc", SPDX + "auto y = at::baddbmm(a, b, c);\n", 2, "products are taken"),
    "product method": ("scalebits/run/a.cc", SPDX + "auto y = a.matmul(b);\n", 2, "products are taken"),
    "SCALEBITS_CUDA": ("scalebits/kernels/a.cc", SPDX + "\n#ifdef SCALEBITS_CUDA\n#endif\n", 3, "CMake only"),
}

LINK_CASES = {
    "missing file": ("README.md", "\n[x](docs/none.md)\n", 2, "no such file"),
    "missing image": ("docs/a.md", "![x](picture.png)\n", 1, "no such file"),
    "missing heading": ("README.md", "[x](docs/format.md#none)\n", 1, "no such heading"),
    "missing heading here": ("README.md", "# A\n[x](#b)\n", 2, "no such heading"),
    "definition": ("README.md", "[x][a]\n\n[a]: docs/none.md\n", 3, "no such file"),
    "outside": ("README.md", "[x](../shared/a.md)\n", 1, "out of the repository"),
}


class Lint(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        for path, text in GOOD.items():
            self.write(path, text)

    def write(self, path, text):
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text, encoding="utf-8")

    def run_script(self, script, *arguments):
        done = subprocess.run([sys.executable, LINT / script, "--root", self.root, *arguments], capture_output=True,
                              text=True)
        self.assertEqual(done.returncode in (0, 1), True, done.stderr)
        return done.returncode, done.stdout

    def check_cases(self, script, cases):
        self.assertEqual(self.run_script(script), (0, ""))
        for name, (path, text, line, message) in cases.items():
            with self.subTest(name):
                self.write(path, text)
                status, output = self.run_script(script)
                self.assertEqual(status, 1)
                # One violation and no other: the snippet is bad in this way only.
                self.assertRegex(output, rf"\A{path}:{line}: .*{message}.*\n\Z")
                (self.root / path).unlink()
                if path in GOOD:
                    self.write(path, GOOD[path])

    def test_layers(self):
        self.check_cases("check_layers.py", LAYER_CASES)

    def test_links(self):
        self.check_cases("check_links.py", LINK_CASES)

    def test_sizes(self):
        case = ("scalebits/base/a.cc", SPDX * 351, 351, "351 lines, at most 350")
        self.check_cases("check_sizes.py", {"351 lines": case})
        self.write("scalebits/base/a.cc", SPDX * 251)
        status, output = self.run_script("check_sizes.py")
        self.assertEqual(status, 0)
        self.assertRegex(output, r"\Ascalebits/base/a.cc:251: warning: 251 lines.*\n\Z")

    def test_an_empty_tree_proves_nothing(self):
        with tempfile.TemporaryDirectory() as empty:
            for script in ("check_layers.py", "check_sizes.py", "check_links.py"):
                done = subprocess.run([sys.executable, LINT / script, "--root", empty], capture_output=True)
                self.assertEqual(done.returncode, 1, script)


class Registered(unittest.TestCase):
    """check_tests.py against a build directory whose ctest entries are written by hand."""

    def run_check(self, source, cases, cache="SCALEBITS_TORCH:BOOL=ON\n", layer="base"):
        with tempfile.TemporaryDirectory() as folder:
            root, build = pathlib.Path(folder), pathlib.Path(folder) / "build"
            (root / "tests" / layer).mkdir(parents=True)
            (root / "tests" / layer / "a_test.cc").write_text(source)
            (root / "tests/base").mkdir(exist_ok=True)
            (root / "tests/base/b_test.cc").write_text("TEST(B, Runs) {}\n")
            build.mkdir()
            (build / "CMakeCache.txt").write_text(cache)
            for program in ("test_base", "test_io"):  # ctest lists no command whose program does not exist
                (build / program).touch(mode=0o755)
            (build / "CTestTestfile.cmake").write_text("".join(
                f'add_test("{case}" "{build / program}" "--gtest_filter={case}")\n' for program, case in
                [("test_base", "B.Runs")] + cases))
            done = subprocess.run([sys.executable, LINT / "check_tests.py", "--root", root, build],
                                  capture_output=True, text=True)
            return done.returncode, done.stdout

    def test_registered_cases_pass(self):
        source = ("TEST(A, One) {}\nTEST_F(\n    A, Two) {}\nTEST_P(P, Three) {}\nTYPED_TEST(T, Four) {}\n"
                  "// TEST(A, Comment) {}\n/* \nTEST(A, Block) {} */\nconstexpr int kBig = 1'000;  // it's\n")
        cases = [("test_base", case) for case in ("A.One", "A.Two", "All/P.Three/0", "T.Four<float>")]
        self.assertEqual(self.run_check(source, cases), (0, ""))

    def test_violations(self):
        one = [("test_base", "A.One")]
        path = "tests/base/a_test.cc"
        for source, cases, expected in (
                ("TEST(A, One) {}\n\nTEST(A, Two) {}\n", one, f"{path}:3: A.Two is not registered with ctest\n"),
                ("#if 0\nTEST(A, One) {}\n#endif\n", [], f"{path}:2: A.One is not registered with ctest\n"),
                ("TEST(A, One) {}\n", [("test_io", "A.One")], f"{path}:1: A.One is not registered with ctest\n"),
                ("TEST_P(A, One) {}\n", [("test_base", "X/A.OneMore/0")],
                 f"{path}:1: A.One is not registered with ctest\n"),
                ("int x;\n", one, f"{path}:1: no test case\n")):
            with self.subTest(source):
                self.assertEqual(self.run_check(source, cases), (1, expected))
        status, output = self.run_check("TEST(A, DISABLED_One) {}\n", one)
        self.assertEqual(status, 1)
        self.assertIn("is disabled", output)

    def test_torch_layers_are_left_out_only_without_torch(self):
        source = "TEST(M, One) {}\n"
        self.assertEqual(self.run_check(source, [], "SCALEBITS_TORCH:BOOL=OFF\n", "model"), (0, ""))
        self.assertEqual(self.run_check(source, [], layer="model")[0], 1)


@unittest.skipUnless(shutil.which("g++") and shutil.which("objdump"), "needs g++ and binutils")
class IsaSymbols(unittest.TestCase):
    def run_check(self, name, source):
        with tempfile.TemporaryDirectory() as folder:
            object_file = pathlib.Path(folder) / f"{name}.o"
            subprocess.run(["g++", "-std=c++20", "-O0", "-x", "c++", "-c", "-o", object_file, "-"], input=source,
                           text=True, check=True)
            done = subprocess.run(["sh", LINT / "check_isa_symbols.sh", object_file], capture_output=True, text=True)
            return done.returncode, done.stdout

    def test_own_namespace_passes(self):
        source = "namespace scalebits::avx512 { inline int f(int x) { return x; } int g(int x) { return f(x); } }"
        self.assertEqual(self.run_check("avx512.cc", source), (0, ""))
        self.assertEqual(self.run_check("gemv_avx512.cc", source), (0, ""))

    def test_leaks_are_reported(self):
        for name, source in (
                ("avx512.cc", "#include <vector>\nnamespace scalebits::avx512 "
                              "{ int f(const std::vector<int>& x) { return x[0]; } }"),
                ("avx512.cc", "namespace scalebits { template <class T> T f(T x) { return x; } namespace avx512 "
                              "{ int g(int x) { return f(x); } } }"),
                ("avx2.cc", "namespace scalebits::avx512 { int f() { return 1; } }")):
            with self.subTest(source):
                status, output = self.run_check(name, source)
                self.assertEqual(status, 1)
                self.assertIn("is outside scalebits::avx", output)

    def test_leak_with_the_namespace_in_a_template_argument_is_reported(self):
        source = ("template <class T> T f(T x) { return x; } namespace scalebits::avx2 "
                  "{ struct A {}; int g(int x) { f(A{}); return x; } }")
        status, output = self.run_check("avx2.cc", source)
        self.assertEqual((status, output.count("\n")), (1, 1))
        self.assertIn("f<scalebits::avx2::A>", output)

    @unittest.skipUnless(platform.machine() == "x86_64", "x86-64 code")
    def test_target_attributes_belong_in_the_namespace(self):
        function = "__attribute__((target(\"avx2\"))) void f(float (&x)[64]) { for (float& v : x) v *= 2; }"
        for source, expected in (
                (f"namespace scalebits {{ namespace {{ namespace avx2 {{ {function} }} }} void g(float (&x)[64]) "
                 "{ avx2::f(x); } }", 0),
                (f"namespace scalebits::avx2 {{ {function} }}", 0),
                (f"namespace scalebits {{ {function} }}", 1),
                (f"namespace scalebits {{ inline {function} namespace avx2 {{ void g(float (&x)[64]) {{ f(x); }} }} }}", 1),
                (f"namespace other::avx2 {{ {function} }}", 1)):
            with self.subTest(source):
                status, output = self.run_check("sums.cc", source)
                self.assertEqual((status, output.count("has AVX instructions")), (expected, expected))

    def test_unreadable_objects_fail(self):
        for name in ("avx2.cc.o", "sums.cc.o"):
            with tempfile.TemporaryDirectory() as folder:
                path = pathlib.Path(folder) / name
                path.write_text("no object")
                done = subprocess.run(["sh", LINT / "check_isa_symbols.sh", path], capture_output=True, text=True)
                self.assertEqual(done.returncode, 1)

    def test_no_objects_passes_and_says_so(self):
        done = subprocess.run(["sh", LINT / "check_isa_symbols.sh", "/no/such/*avx*.o"], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout), (0, "check_isa_symbols: no objects\n"))


if __name__ == "__main__":
    unittest.main()
