// harness.cpp: registry and main of the test harness.
#include "harness.hpp"

#include <cstdio>
#include <cstring>
#include <vector>

namespace test {
namespace {

struct Entry {
    const char* name;
    Fn fn;
};

std::vector<Entry>& entries() {
    static std::vector<Entry> list;
    return list;
}

int failures = 0;  // failed checks of the running test
std::string notes;

}  // namespace

Registrar::Registrar(const char* name, Fn fn) {
    entries().push_back({name, fn});
}

void report(const char* file, int line, const std::string& what) {
    if (++failures <= 10) std::printf("  %s:%d: %s\n", file, line, what.c_str());
    if (failures == 11) std::printf("  (more failures not shown)\n");
}

int failed_checks() {
    return failures;
}

void note(const std::string& text) {
    notes += notes.empty() ? text : ", " + text;
}

}  // namespace test

int main(int argc, char** argv) {
    int passed = 0, failed = 0;
    for (const test::Entry& e : test::entries()) {
        if (argc > 1 && !std::strstr(e.name, argv[1])) continue;
        test::failures = 0;
        test::notes.clear();
        e.fn();
        const bool ok = test::failures == 0;
        std::printf("%s %s%s%s%s\n", ok ? "ok    " : "FAILED", e.name, test::notes.empty() ? "" : " (",
                    test::notes.c_str(), test::notes.empty() ? "" : ")");
        std::fflush(stdout);
        (ok ? passed : failed)++;
    }
    std::printf("%d passed, %d failed\n", passed, failed);
    return failed || !passed ? 1 : 0;
}
