#include "test/support/world.h"

#include <algorithm>
#include <exception>
#include <random>
#include <thread>

#include "core/weight_slice.h"
#include "kernels/reference.h"
#include "net/exchanger.h"
#include "net/inproc.h"

namespace sbcnn::test {
namespace {

class ListFeed final : public Feed {
 public:
  explicit ListFeed(const std::vector<std::vector<float>>& inputs) : inputs_(inputs) {}
  Signal next(bool idle, View<float> input) override {
    if (next_ == inputs_.size()) {
      return idle ? Signal::stop : Signal::bubble;
    }
    copy(View<const float>(inputs_[next_++].data(), input.shape()), input);
    return Signal::frame;
  }
  void deliver(View<const float> output) override {
    Tensor dense(output.shape());
    copy(output, dense.view());
    const auto flat = dense.view().flat();
    outputs.emplace_back(flat.begin(), flat.end());
  }
  std::vector<std::vector<float>> outputs;

 private:
  const std::vector<std::vector<float>>& inputs_;
  std::size_t next_ = 0;
};

}  // namespace

std::vector<std::vector<float>> run_world(const Model& model, const Cluster& cluster,
                                          const std::vector<std::vector<float>>& inputs,
                                          const WorldOptions& options) {
  ListFeed feed(inputs);
  net::Hub hub(cluster.size());
  std::vector<std::exception_ptr> failures(std::size_t(cluster.size()));
  const auto run = [&](int rank) {
    try {
      net::Communicator comm(options.join ? options.join(rank) : hub.join(rank));
      net::CommExchanger exchanger(comm);
      const auto factory = options.kernels ? options.kernels() : kernels::make_reference_kernels();
      const Plan plan = make_plan(model, cluster);
      Pipeline pipeline(make_program(model, plan, rank, options.narrowest_piece), *factory,
                        exchanger, [&](int step) { return slice_weights(model, plan, step, rank); },
                        {options.in_flight, std::chrono::seconds(60)});
      pipeline.run(rank == 0 ? &feed : nullptr);
    } catch (...) {
      failures[std::size_t(rank)] = std::current_exception();
    }
  };
  std::vector<std::thread> ranks;
  for (int r = 0; r < cluster.size(); ++r) {
    ranks.emplace_back(run, r);
  }
  for (std::thread& t : ranks) {
    t.join();
  }
  for (const std::exception_ptr& failure : failures) {
    if (failure) {
      std::rethrow_exception(failure);
    }
  }
  return feed.outputs;
}

std::vector<float> noise(std::size_t count, unsigned seed) {
  std::mt19937 bits(seed);  // the distribution classes differ between libraries, this does not
  std::vector<float> values(count);
  std::ranges::generate(values,
                        [&] { return float(bits() >> 8) * (2.0f / float(1 << 24)) - 1.0f; });
  return values;
}

}  // namespace sbcnn::test
