// Chooses the mutant, MUTANT=NUMBER. With REACHED=FILE instead: notes there which mutants each test
// comes by and how long it takes, a line a test: "SECONDS NUMBER,NUMBER,… NAME".
#define CATCH_CONFIG_EXTERNAL_INTERFACES
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "mutation/mutant.hpp"
#include "support/catch.hpp"

namespace mutant {

int active = std::getenv("MUTANT") != nullptr ? std::atoi(std::getenv("MUTANT")) : 0;

namespace {

const char* notes = std::getenv("REACHED");
std::vector<bool> reached;

class Notes : public Catch::TestEventListenerBase {
 public:
  using TestEventListenerBase::TestEventListenerBase;

  void testCaseStarting(const Catch::TestCaseInfo& info) override {
    Catch::TestEventListenerBase::testCaseStarting(info);
    reached.assign(reached.size(), false);
    started_ = std::chrono::steady_clock::now();
  }

  void testCaseEnded(const Catch::TestCaseStats& stats) override {
    TestEventListenerBase::testCaseEnded(stats);
    if (notes == nullptr) return;
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started_;
    std::FILE* file = std::fopen(notes, "a");
    if (file == nullptr) std::abort();
    std::fprintf(file, "%.4f 0", took.count());
    for (size_t i = 0; i < reached.size(); ++i) {
      if (reached[i]) std::fprintf(file, ",%zu", i);
    }
    std::fprintf(file, " %s\n", stats.testInfo.name.c_str());
    std::fclose(file);
  }

 private:
  std::chrono::steady_clock::time_point started_;
};

CATCH_REGISTER_LISTENER(Notes)

}  // namespace

void Reached(int number) {
  if (notes == nullptr) return;
  const auto index = static_cast<size_t>(number);
  if (reached.size() <= index) reached.resize(index + 1);
  reached[index] = true;
}

}  // namespace mutant
