// What a reduction does with two elements.
//
// The order in which elements are combined is the algorithm's (algorithms.h) and fixed: the same
// world gives the same bits. Integers wrap around; min and max of floats drop a NaN unless both
// are NaN. A function of one's own must be associative, and is taken not to be commutative
// unless it is said to be: algorithms that would swap operands then refuse it. It is called on the
// communicator's thread, may not call the communicator, and must not throw: that ends the
// communicator.
#pragma once

#include <cstddef>
#include <cstring>
#include <functional>
#include <optional>
#include <utility>

#include "net/buffers.h"

namespace sbcnn::net {

enum class Op : std::uint8_t { sum, min, max, prod };

class ReduceOp {
 public:
  ReduceOp(Op op) : op_(op) {}  // NOLINT(google-explicit-constructor)

  // result = f(of lower ranks, of higher ranks); f(T, T) -> T.
  template <Number T, class F>
  requires std::is_invocable_r_v<T, F&, T, T>
  static ReduceOp of(F f, bool commutative = false) {
    return {element_type<T>(), commutative,
            [f = std::move(f)](std::span<std::byte> to, std::span<const std::byte> from,
                               bool swapped) mutable { apply<T>(f, to, from, swapped); }};
  }

  bool commutative() const { return commutative_; }
  bool folds(ElementType) const;  // whether it takes such elements

  // to[i] = op(to[i], from[i]), or with `swapped` op(from[i], to[i]). Either may lie at any
  // address.
  void fold(ElementType, std::span<std::byte> to, std::span<const std::byte> from,
            bool swapped) const;

  // A number that tells operations apart; all functions of one's own are one.
  int number() const { return op_ ? int(*op_) : 255; }

 private:
  using Function = std::function<void(std::span<std::byte>, std::span<const std::byte>, bool)>;
  ReduceOp(ElementType type, bool commutative, Function f)
      : type_(type), commutative_(commutative), function_(std::move(f)) {}

  template <class T, class F>
  static void apply(F& f, std::span<std::byte> to, std::span<const std::byte> from, bool swapped) {
    for (std::size_t i = 0; i + sizeof(T) <= from.size(); i += sizeof(T)) {
      T a{}, b{};
      std::memcpy(&a, to.data() + i, sizeof a);
      std::memcpy(&b, from.data() + i, sizeof b);
      const T result = swapped ? f(b, a) : f(a, b);
      std::memcpy(to.data() + i, &result, sizeof result);
    }
  }

  std::optional<Op> op_;
  ElementType type_ = ElementType::bytes;  // of a function of one's own
  bool commutative_ = true;
  Function function_;
};

}  // namespace sbcnn::net
