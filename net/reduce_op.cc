#include "net/reduce_op.h"

#include "core/error.h"

namespace sbcnn::net {
namespace {

// In unsigned arithmetic, where an overflow of integers wraps around.
template <class T>
struct Sum {
  T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>) {
      return T(std::uint32_t(a) + std::uint32_t(b));
    } else {
      return a + b;
    }
  }
};

template <class T>
struct Product {
  T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>) {
      return T(std::uint32_t(a) * std::uint32_t(b));
    } else {
      return a * b;
    }
  }
};

// `b` also where `a` is NaN.
template <class T>
struct Least {
  T operator()(T a, T b) const { return b < a || a != a ? b : a; }
};

template <class T>
struct Greatest {
  T operator()(T a, T b) const { return b > a || a != a ? b : a; }
};

}  // namespace

bool ReduceOp::folds(ElementType type) const {
  if (!op_) {
    return type == type_;
  }
  return type == ElementType::float32 || type == ElementType::int32 || type == ElementType::int8;
}

void ReduceOp::fold(ElementType type, std::span<std::byte> to, std::span<const std::byte> from,
                    bool swapped) const {
  if (!op_) {
    function_(to, from, swapped);
    return;
  }
  const auto with = [&]<class T>(T) {
    const auto run = [&](auto f) { apply<T>(f, to, from, swapped); };
    switch (*op_) {
      case Op::sum:
        return run(Sum<T>());
      case Op::min:
        return run(Least<T>());
      case Op::max:
        return run(Greatest<T>());
      case Op::prod:
        return run(Product<T>());
    }
  };
  switch (type) {
    case ElementType::float32:
      return with(0.0F);
    case ElementType::int32:
      return with(std::int32_t(0));
    case ElementType::int8:
      return with(std::int8_t(0));
    case ElementType::bytes:
    case ElementType::float16:
      break;
  }
  throw ContractViolation("ReduceOp: halves and bytes are not reduced");
}

}  // namespace sbcnn::net
