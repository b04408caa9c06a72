// What one rank does: which outputs are written straight into messages, and what memory that takes.
#include "core/program.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <set>
#include <string>

#include "core/model_file.h"
#include "test/support/execute.h"
#include "test/support/networks.h"

using namespace sbcnn;
using namespace sbcnn::test;

namespace {

constexpr int kNeverInPieces = std::numeric_limits<int>::max();  // but whole outputs

Conv conv3(int outputs, int groups = 1) {
  return {outputs, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}, groups, {Activation::Kind::relu, 0, 0}};
}

Conv conv1(int outputs, int groups) {
  Conv c = conv3(outputs, groups);
  c.kernel = {1, 1};
  c.pads = {};
  return c;
}

// DeCNN's pattern: a stage whose last convolution has `width` channels a group, a shuffle, another
// stage, scores.
Model bottleneck(int groups, int width) {
  Builder b({8, 6, 3});
  Value v = b.conv(b.conv(0, conv3(8 * groups)), conv1(width * groups, groups));
  v = b.conv(b.layer(ChannelShuffle{groups}, {v}), conv1(8 * groups, groups));
  b.dense(b.layer(GlobalAveragePool{}, {v}), 10);
  return b.model;
}

// The same, with a residual and borders.
Model basic(int groups, int width) {
  Builder b({8, 6, 3});
  Value v = b.conv(0, conv3(width * groups));
  const Value inner = b.conv(v, conv3(width * groups, groups));
  v = b.conv_add(inner, v, conv3(width * groups, groups));
  v = b.conv(b.layer(ChannelShuffle{groups}, {v}), conv3(width * groups, groups));
  b.dense(b.layer(GlobalAveragePool{}, {v}), 10);
  return b.model;
}

std::vector<Network> networks() {
  std::vector<Network> all = synthetic_networks();
  for (const char* name : {"resnet18_decnn", "resnet50_decnn", "vgg16_decnn", "decnn_stages",
                           "shufflenet_v2", "mobilenet_v2", "densenet", "inception"}) {
    const auto path = source_root() / "test/data/networks" / (std::string(name) + ".onnx");
    all.push_back({name, load_model(path.string())});
  }
  return all;
}

struct Exchanged {
  const Task& task;  // right before
  const Transfer& transfer;
};

std::vector<Exchanged> exchanges(const Program& program, Collective op) {
  std::vector<Exchanged> all;
  for (std::size_t s = 1; s < program.actions.size(); ++s) {
    const auto* transfer = std::get_if<Transfer>(&program.actions[s]);
    const auto* task = std::get_if<Task>(&program.actions[s - 1]);
    if (transfer != nullptr && task != nullptr && transfer->op == op) {
      all.push_back({*task, *transfer});
    }
  }
  return all;
}

bool is_empty(const Program& program, int local) {
  return program.locals[std::size_t(local)].shape.size() == 0;
}

// Marks channels as written and tells whether they lie inside the local and were not yet.
bool write_once(const Program& program, const Part& part, std::set<std::pair<int, int>>& written) {
  bool once = 0 <= part.channels.begin &&
              part.channels.end <= program.locals[std::size_t(part.local)].shape.channels;
  for (int c = part.channels.begin; c < part.channels.end; ++c) {
    once = written.emplace(part.local, c).second && once;
  }
  return once;
}

void check_pieces(const Program& program, const Task& task, const Transfer& next) {
  CHECK(next.pack.empty());
  CHECK(is_empty(program, next.input));
  REQUIRE(task.spec.pieces.size() == task.outputs.size());
  std::set<std::pair<int, int>> written;
  int end = 0;
  for (std::size_t i = 0; i < task.outputs.size(); ++i) {
    CHECK(task.spec.pieces[i].begin == end);
    CHECK(task.spec.pieces[i].size() == task.outputs[i].channels.size());
    CHECK(write_once(program, task.outputs[i], written));
    end = task.spec.pieces[i].end;
  }
  CHECK(end == task.spec.output.channels);
}

// Every float of the send buffer is written once, by copies or by the task before.
void check_message(const Program& program, const std::vector<Part>& parts, const Transfer& t) {
  std::size_t floats = 0;
  for (const Part& p : parts) {
    if (p.local != t.output) {
      floats +=
          program.locals[std::size_t(p.local)].shape.pixels() * std::size_t(p.channels.size());
    }
  }
  CHECK(floats == program.locals[std::size_t(t.send)].shape.size());
}

}  // namespace

TEST_CASE("a stage's last convolution writes straight into the parcels of the all-to-all") {
  const Model model = bottleneck(4, 64);
  for (const int size : {2, 3, 4}) {
    const Plan plan = make_plan(model, Cluster::equal(size));
    for (int rank = 0; rank < size; ++rank) {
      CAPTURE(size);
      CAPTURE(rank);
      const Program program = make_program(model, plan, rank);
      const auto found = exchanges(program, Collective::alltoall);
      REQUIRE(found.size() == 1);
      const auto& [task, transfer] = found[0];
      // Two groups of one rank alternate in messages; one group's channels stay together.
      const bool alone = task.spec.blocks.size() == 1;
      CHECK(task.spec.pieces.size() == (alone ? std::size_t(size) : 8));
      check_pieces(program, task, transfer);
      CHECK(std::ranges::count(task.outputs, transfer.output, &Part::local) == (alone ? 1 : 4));
    }
  }
}

TEST_CASE("networks with DeCNN's stages write in pieces, if pieces may be that narrow") {
  for (const char* name : {"resnet18_decnn", "resnet50_decnn", "decnn_stages"}) {
    CAPTURE(name);
    const auto path = source_root() / "test/data/networks" / (std::string(name) + ".onnx");
    const Model model = load_model(path.string());
    for (const int size : {2, 4}) {
      CAPTURE(size);
      const Plan plan = make_plan(model, Cluster::equal(size));
      for (int rank = 0; rank < size; ++rank) {
        const Program program = make_program(model, plan, rank, 1);
        int in_pieces = 0;
        for (const auto& [task, transfer] : exchanges(program, Collective::alltoall)) {
          in_pieces += task.spec.pieces.empty() ? 0 : 1;
        }
        CHECK(in_pieces >= 1);  // the others would take more memory
        for (const Action& action : make_program(model, plan, rank).actions) {
          if (const auto* task = std::get_if<Task>(&action)) {
            for (const Range& piece : task->spec.pieces) {
              CHECK(piece.size() >= std::min(kNarrowestPiece, task->spec.output.channels));
            }
          }
        }
      }
    }
  }
}

TEST_CASE("pieces cover an output once, and messages are written once") {
  for (const Network& n : networks()) {
    CAPTURE(n.name);
    for (const int size : {1, 2, 3, 4, 5, 7}) {
      const Plan plan = make_plan(n.model, Cluster::equal(size));
      for (int rank = 0; rank < size; ++rank) {
        const Program program = make_program(n.model, plan, rank, 1);
        for (std::size_t s = 0; s < program.actions.size(); ++s) {
          const auto* t = std::get_if<Transfer>(&program.actions[s]);
          if (t == nullptr) {
            CHECK(!std::get<Task>(program.actions[s]).outputs.empty());
            continue;
          }
          const auto* task = s == 0 ? nullptr : std::get_if<Task>(&program.actions[s - 1]);
          const bool in_pieces = task != nullptr && !task->spec.pieces.empty();
          std::vector<Part> parts;
          if (in_pieces) {
            check_pieces(program, *task, *t);
            parts = task->outputs;
          }
          for (const Copy& c : t->pack) {
            CHECK(c.from.channels.size() == c.to.channels.size());
            parts.push_back(c.to);
          }
          check_message(program, parts, *t);
        }
      }
    }
  }
}

TEST_CASE("what is written in pieces takes no memory of its own") {
  const Model model = bottleneck(4, 64);
  const Plan plan = make_plan(model, Cluster::equal(4));
  // 8 x 6 pixels, 64 channels; the exchange is the widest point.
  const std::size_t value = 48 * 64, message = value * 3 / 4;
  // Copying: the value, what is sent, and what this rank keeps. In pieces: the latter two, and the
  // convolution's input.
  const std::size_t input = 48 * 8;
  CHECK(make_program(model, plan, 1, kNeverInPieces).arena_size == 2 * value + message);
  CHECK(make_program(model, plan, 1).arena_size == value + message + input);
}

TEST_CASE("outputs are not written in pieces where that takes more memory") {
  const Model model = basic(4, 64);
  const Plan plan = make_plan(model, Cluster::equal(4));
  // The widest point is the convolution with a residual, and the all-to-all's result would be
  // there as well.
  const std::size_t value = 48 * 64, bordered = 80 * 64;
  const Program program = make_program(model, plan, 1);
  CHECK(program.arena_size == 2 * bordered + value);
  CHECK(exchanges(program, Collective::alltoall)[0].task.spec.pieces.empty());
  for (const Network& n : networks()) {
    CAPTURE(n.name);
    for (const int size : {1, 2, 3, 4, 5, 7}) {
      const Plan p = make_plan(n.model, Cluster::equal(size));
      for (int rank = 0; rank < size; ++rank) {
        CHECK(make_program(n.model, p, rank, 1).arena_size <=
              make_program(n.model, p, rank, kNeverInPieces).arena_size);
      }
    }
  }
}

TEST_CASE("addends of a sum are written into the message") {
  const Model model = bottleneck(4, 8);
  const Plan plan = make_plan(model, Cluster::equal(4));
  for (int rank = 0; rank < 4; ++rank) {
    const Program program = make_program(model, plan, rank);
    const auto found = exchanges(program, Collective::reduce);
    REQUIRE(found.size() == 1);
    CHECK(found[0].task.spec.pieces == std::vector<Range>{{0, 10}});
    check_pieces(program, found[0].task, found[0].transfer);
  }
}

TEST_CASE("an output that anybody else reads, or of another layer, is copied") {
  Builder b({8, 6, 3});
  Value v = b.conv(0, conv3(64));
  const Value stage = b.conv(v, conv3(64, 4));
  v = b.conv(b.layer(ChannelShuffle{4}, {stage}), conv3(64, 4));
  SUBCASE("read again") {
    b.layer(Concat{}, {v, stage});
  }
  SUBCASE("the network's output") {}
  const Plan plan = make_plan(b.model, Cluster::equal(4));
  for (int rank = 0; rank < 4; ++rank) {
    const Program program = make_program(b.model, plan, rank, 1);
    for (const Action& action : program.actions) {
      if (const auto* t = std::get_if<Transfer>(&action)) {
        CHECK((t->pack.empty() || !is_empty(program, t->input)));
      }
    }
  }
}

TEST_CASE("pieces do not change what goes to whom") {
  for (const Network& n : networks()) {
    CAPTURE(n.name);
    const Plan plan = make_plan(n.model, Cluster::equal(4));
    for (int rank = 0; rank < 4; ++rank) {
      const Program a = make_program(n.model, plan, rank, kNeverInPieces);
      const Program b = make_program(n.model, plan, rank, 1);
      for (std::size_t s = 0; s < a.actions.size(); ++s) {
        if (const auto* t = std::get_if<Transfer>(&a.actions[s])) {
          CHECK(t->send_counts == std::get<Transfer>(b.actions[s]).send_counts);
          CHECK(t->bytes_sent == std::get<Transfer>(b.actions[s]).bytes_sent);
        }
      }
    }
  }
}
