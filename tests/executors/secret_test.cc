// Secret values reach the command and nothing else.
#include <dirent.h>

#include <random>

#include "executors/attempt_fixture.hpp"
#include "executors/secret_mask.hpp"

namespace trackbed {
namespace {

std::string Mask(const std::string& secret, const std::string& text) {
  SecretMask mask;
  mask.AddSecret(secret);
  return mask.Apply(text);
}

TEST_CASE("a secret is masked wherever it stands") {
  CHECK(Mask("hunter2", "hunter2") == "***");
  CHECK(Mask("hunter2", "password=hunter2\nhunter2hunter2!") == "password=***\n******!");
  CHECK(Mask("hunter2", "hunter") == "hunter");
  CHECK(Mask("", "anything") == "anything");
  CHECK(Mask("aab", "aaab") == "a***");
  CHECK(Mask(std::string("a\0b", 3), std::string("x a\0b y", 7)) == "x *** y");
}

TEST_CASE("lines of a secret with several are masked one by one") {
  const std::string key = "-----BEGIN KEY-----\r\nMIIabc\nxyz\n-----END KEY-----\n";
  CHECK(Mask(key, "a MIIabc b") == "a *** b");
  CHECK(Mask(key, "xyz") == "xyz");
  CHECK(Mask(key, "see -----BEGIN KEY----- there") == "see *** there");
  CHECK(Mask("token-1\n", "curl token-1 now") == "curl *** now");
}

TEST_CASE("Base64 forms are masked at every alignment") {
  // python3: base64.b64encode(b'x' * n + b'hunter2>>?' + rest)
  CHECK(Mask("hunter2>>?", "aHVudGVyMj4+Pw==") == "***");
  CHECK(Mask("hunter2>>?", "aHVudGVyMj4+Pw") == "***");
  CHECK(Mask("hunter2>>?", "aHVudGVyMj4-Pw==") == "***");
  CHECK(Mask("hunter2>>?", "eGh1bnRlcjI+Pj8=") == "eG***");
  CHECK(Mask("hunter2>>?", "eHhodW50ZXIyPj4/") == "eHh***");
  const std::string inside = Mask("hunter2>>?", "dXNlcjpodW50ZXIyPj4/OnRhaWw=");
  CHECK(inside.find("W50ZXIy") == std::string::npos);
}

TEST_CASE("percent-encoded and JSON forms are masked") {
  CHECK(Mask("p@ss word/1", "u=p%40ss%20word%2F1&") == "u=***&");
  CHECK(Mask("p@ss word/1", "u=p%40ss+word%2f1&") == "u=***&");
  CHECK(Mask("p@ss word/1", "u=p%40ss%20word/1&") == "u=***&");
  CHECK(Mask("say \"hi\"", R"({"k": "say \"hi\""})") == R"({"k": "***"})");
}

TEST_CASE("overlapping secrets are masked as one") {
  SecretMask mask;
  mask.AddSecret("foobar");
  mask.AddSecret("barbaz");
  mask.AddSecret("foo");
  CHECK(mask.Apply("foobarbaz!") == "***!");
  CHECK(mask.Apply("fooba") == "***ba");
  CHECK(mask.Apply("foofoobar") == "******");
}

TEST_CASE("a stream is masked the same however it is cut") {
  std::mt19937 random(7);
  const std::vector<std::string> secrets = {"abcab", "cabba", "aaaa", "b\nabc\nca"};
  SecretMask whole;
  for (const std::string& secret : secrets) whole.AddSecret(secret);
  for (int round = 0; round < 300; ++round) {
    std::string text;
    for (int i = 0; i < 200; ++i) text += "abc\n"[random() % 4];
    SecretMask stream = whole;
    std::string shown;
    for (size_t begin = 0; begin < text.size();) {
      const size_t count = random() % 7;
      stream.Feed(std::string_view(text).substr(begin, count), &shown);
      begin += count;
    }
    stream.Finish(&shown);
    REQUIRE(shown == whole.Apply(text));
  }
}

TEST_CASE("only what may be the beginning of a secret is held back") {
  SecretMask mask;
  mask.AddSecret("hunter2");
  std::string shown;
  mask.Feed("progress 10%\n", &shown);
  CHECK(shown == "progress 10%\n");
  mask.Feed("hunt", &shown);
  CHECK(shown == "progress 10%\n");
  mask.Feed("ing\n", &shown);
  CHECK(shown == "progress 10%\nhunting\n");
}

// Every file below `folder` that holds `text`.
std::vector<std::string> FilesWith(const std::string& folder, const std::string& text) {
  std::vector<std::string> found;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file() && ReadAll(entry.path()).find(text) != std::string::npos) {
      found.push_back(entry.path());
    }
  }
  return found;
}

std::vector<std::string> CommandLinesWith(const std::string& text) {
  std::vector<std::string> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    if (ReadAll(entry.path() / "cmdline").find(text) != std::string::npos) {
      found.push_back(entry.path());
    }
  }
  return found;
}

TEST_CASE("a secret reaches the command, but no file and no command line") {
  const ScratchFolder scratch;
  const auto executor = MakeExecutor();
  const std::string secret = "s3cr3t-value-" + std::to_string(getpid());
  AttemptSpec spec = ScriptSpec(scratch,
                                "test ${#TOKEN} -gt 13 && echo token=$TOKEN && echo $TOKEN >&2 && "
                                "printf %s \"$TOKEN\" | base64 && "
                                "echo model=$TOKEN-1 >> $TRACKBED_OUTPUT && touch ready && "
                                "while ! test -e go; do sleep 0.01; done; echo after");
  spec.environment = {{"TOKEN", secret}, {"PLAIN", "visible"}};
  spec.secret_names = {"TOKEN"};
  REQUIRE(executor->Start(spec).ok());
  REQUIRE(Eventually([&] { return std::filesystem::exists(spec.folder + "/work/ready"); }));
  // Shown at once, not when the attempt ends.
  CHECK(Eventually([&] { return LogOf(spec) == "token=***\n***\n***\n"; }));
  CHECK(CommandLinesWith(secret).empty());
  const std::string claim = ReadAll(spec.folder + "/claim");
  const std::string pid = claim.substr(claim.find("pid ") + 4);
  CHECK(ReadAll("/proc/" + pid.substr(0, pid.find('\n')) + "/environ").find(secret) ==
        std::string::npos);
  WriteAll(spec.folder + "/work/go", "");
  const AttemptReport report = WaitForEnd(executor.get(), spec.key);
  CHECK(report.exit_code == 0);
  CHECK(report.output_text == "model=***-1\n");
  CHECK(LogOf(spec) == "token=***\n***\n***\nafter\n");
  CHECK(FilesWith(spec.folder, secret).empty());
  CHECK(FilesWith(spec.folder, "visible").empty());  // what to run travels by memory only
}

}  // namespace
}  // namespace trackbed
