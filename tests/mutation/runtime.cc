// Chooses the mutant, MUTANT=NUMBER. With REACHED=FILE instead: notes there which mutants each test
// comes by and how long it takes, a line a test: "SECONDS NUMBER,NUMBER,… NAME".
#define CATCH_CONFIG_EXTERNAL_INTERFACES
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <vector>

#include "mutation/mutant.hpp"
#include "support/catch.hpp"

namespace mutant {

int active = std::getenv("MUTANT") != nullptr ? std::atoi(std::getenv("MUTANT")) : 0;
bool is_noting = std::getenv("REACHED") != nullptr;

namespace {

const char* notes = std::getenv("REACHED");
std::vector<bool> reached;

class Notes : public Catch::TestEventListenerBase {
 public:
  using TestEventListenerBase::TestEventListenerBase;

  void testCaseStarting(const Catch::TestCaseInfo& info) override {
    Catch::TestEventListenerBase::testCaseStarting(info);
    reached.assign(reached.size(), false);
    started_ = std::clock();  // of the processor: how busy the machine is does not matter
  }

  void testCaseEnded(const Catch::TestCaseStats& stats) override {
    TestEventListenerBase::testCaseEnded(stats);
    if (!is_noting) return;
    const double took = static_cast<double>(std::clock() - started_) / CLOCKS_PER_SEC;
    std::FILE* file = std::fopen(notes, "a");
    if (file == nullptr) std::abort();
    std::fprintf(file, "%.4f 0", took);
    for (size_t i = 0; i < reached.size(); ++i) {
      if (reached[i]) std::fprintf(file, ",%zu", i);
    }
    std::fprintf(file, " %s\n", stats.testInfo.name.c_str());
    std::fclose(file);
  }

 private:
  std::clock_t started_ = 0;
};

CATCH_REGISTER_LISTENER(Notes)

}  // namespace

void Note(int number) {
  const auto index = static_cast<size_t>(number);
  if (reached.size() <= index) reached.resize(index + 1);
  reached[index] = true;
}

}  // namespace mutant
