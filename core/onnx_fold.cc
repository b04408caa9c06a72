#include "core/onnx_fold.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <unordered_map>

namespace sbcnn::importer {
namespace {

// What a folder works with: the node, its inputs, and what it may still allocate.
struct Folding {
  const GraphNode& node;
  std::int64_t opset;
  const std::vector<const Constant*>& inputs;
  Allowance& allowance;

  bool has(std::size_t i) const { return i < inputs.size() && inputs[i] != nullptr; }
  const Constant& input(std::size_t i) const {
    if (!has(i)) {
      node.malformed("input " + std::to_string(i) + " is missing");
    }
    return *inputs[i];
  }
  const Integers& integers(std::size_t i) const {
    if (!input(i).integral()) {
      node.malformed("input " + std::to_string(i) + " does not hold integers");
    }
    return input(i).integers();
  }
  void take(const Integers& dims) const { allowance.take(node, element_count(dims)); }
};

template <class T>
Constant make(Integers dims, std::vector<T> values) {
  if constexpr (std::is_same_v<T, float>) {
    return {std::move(dims), Blob::own(std::move(values))};
  } else {
    return {std::move(dims), std::move(values)};
  }
}

template <class T>
std::span<const T> elements(const Constant& c) {
  if constexpr (std::is_same_v<T, float>) {
    return c.floats();
  } else {
    return c.integers();
  }
}

// Calls f(span of elements) with the type that the constant holds.
template <class F>
Constant with_elements(const Constant& c, const F& f) {
  return c.integral() ? f(std::span<const std::int64_t>(c.integers())) : f(c.floats());
}

Integers strides(const Integers& dims) {
  Integers out(dims.size(), 1);
  for (std::size_t i = dims.size(); i-- > 1;) {
    out[i - 1] = out[i] * dims[i];
  }
  return out;
}

// Result element (i0, i1, ...) is input element first + i0 * steps[0] + i1 * steps[1] + ...:
// Transpose, Slice, Expand and Gather of a scalar index are all of this kind.
Constant gathered(const Folding& f, const Constant& from, const Integers& dims,
                  const Integers& steps, std::int64_t first = 0) {
  f.take(dims);
  return with_elements(from, [&]<class T>(std::span<const T> in) {
    std::vector<T> out(element_count(dims));
    Integers at(dims.size(), 0);
    std::int64_t offset = first;
    for (T& element : out) {
      element = in[std::size_t(offset)];
      for (std::size_t d = dims.size(); d-- > 0;) {
        offset += steps[d];
        if (++at[d] < dims[d]) {
          break;
        }
        offset -= steps[d] * dims[d];
        at[d] = 0;
      }
    }
    return make(dims, std::move(out));
  });
}

// The dimensions of two operands stretched to each other.
Integers broadcast(const GraphNode& node, const Integers& a, const Integers& b) {
  Integers out(std::max(a.size(), b.size()), 1);
  for (std::size_t i = 0; i < out.size(); ++i) {
    const std::int64_t da = i < a.size() ? a[a.size() - 1 - i] : 1;
    const std::int64_t db = i < b.size() ? b[b.size() - 1 - i] : 1;
    if (da != db && da != 1 && db != 1) {
      node.malformed(text(a) + " and " + text(b) + " do not fit each other");
    }
    out[out.size() - 1 - i] = da == 1 ? db : da;
  }
  return out;
}

Constant expanded(const Folding& f, const Constant& from, const Integers& dims) {
  const Integers own = strides(from.dims);
  Integers steps(dims.size(), 0);
  for (std::size_t i = 0; i < own.size(); ++i) {
    const std::size_t d = own.size() - 1 - i;
    steps[dims.size() - 1 - i] = from.dims[d] == 1 ? 0 : own[d];
  }
  return gathered(f, from, dims, steps);
}

Constant renamed(const Constant& from, Integers dims) {
  return {std::move(dims), from.data};
}

// --- shapes ----------------------------------------------------------------------------------

Constant fold_shape(const Folding& f) {
  Integers dims = shape_part(f.node, f.input(0).dims);
  const auto rank = std::int64_t(dims.size());
  return {{rank}, std::move(dims)};
}

Constant fold_reshape(const Folding& f) {
  const bool allow_zero = f.node.integer("allowzero", 0) != 0;
  return renamed(f.input(0), reshaped(f.node, f.input(0).dims, f.integers(1), allow_zero));
}

Constant fold_squeeze(const Folding& f) {
  return renamed(f.input(0), squeezed(f.node, f.input(0).dims, axes(f.node, f.inputs)));
}

Constant fold_unsqueeze(const Folding& f) {
  return renamed(f.input(0), unsqueezed(f.node, f.input(0).dims, axes(f.node, f.inputs)));
}

Constant fold_flatten(const Folding& f) {
  const Integers& dims = f.input(0).dims;
  std::int64_t axis = f.node.integer("axis", 1);
  axis =
      axis == std::int64_t(dims.size()) ? axis : std::int64_t(axis_of(f.node, axis, dims.size()));
  const Integers head(dims.begin(), dims.begin() + axis), tail(dims.begin() + axis, dims.end());
  return renamed(f.input(0),
                 {std::int64_t(element_count(head)), std::int64_t(element_count(tail))});
}

Constant fold_transpose(const Folding& f) {
  const Integers& from = f.input(0).dims;
  const Integers own = strides(from);
  Integers dims, steps;
  for (const std::size_t axis : permutation(f.node, from.size())) {
    dims.push_back(from[axis]);
    steps.push_back(own[axis]);
  }
  return gathered(f, f.input(0), dims, steps);
}

Constant fold_slice(const Folding& f) {
  Integers dims = f.input(0).dims, steps = strides(dims);
  std::int64_t first = 0;
  for (const AxisSlice& s : slices(f.node, f.inputs, f.input(0).dims)) {
    first += s.begin * steps[s.axis];
    dims[s.axis] = s.count;
    steps[s.axis] *= s.count > 1 ? s.step : 0;
  }
  return gathered(f, f.input(0), dims, steps, first);
}

Constant fold_expand(const Folding& f) {
  return expanded(f, f.input(0), broadcast(f.node, f.input(0).dims, f.integers(1)));
}

Constant fold_concat(const Folding& f) {
  const Constant& first = f.input(0);
  if (!f.node.has("axis")) {
    f.node.malformed("it has no axis");
  }
  const std::size_t axis = axis_of(f.node, f.node.integer("axis", 0), first.dims.size());
  Integers dims = first.dims;
  dims[axis] = 0;
  for (std::size_t i = 0; i < f.inputs.size(); ++i) {
    Integers own = f.input(i).dims;
    if (own.size() != dims.size() || f.input(i).integral() != first.integral()) {
      f.node.malformed("its inputs differ in rank or type");
    }
    dims[axis] += own[axis];
    own[axis] = first.dims[axis];
    if (own != first.dims) {
      f.node.malformed(text(f.input(i).dims) + " does not fit " + text(first.dims));
    }
  }
  f.take(dims);
  const std::size_t outer = element_count({dims.begin(), dims.begin() + std::ptrdiff_t(axis)});
  return with_elements(first, [&]<class T>(std::span<const T>) {
    std::vector<T> out;
    out.reserve(element_count(dims));
    for (std::size_t o = 0; o < outer; ++o) {
      for (const Constant* c : f.inputs) {
        const std::size_t run = c->size() / outer;
        const auto part = elements<T>(*c).subspan(o * run, run);
        out.insert(out.end(), part.begin(), part.end());
      }
    }
    return make(dims, std::move(out));
  });
}

Constant fold_gather(const Folding& f) {
  const Constant& from = f.input(0);
  const std::size_t axis = axis_of(f.node, f.node.integer("axis", 0), from.dims.size());
  const Integers& indices = f.integers(1);
  const auto cut = from.dims.begin() + std::ptrdiff_t(axis);
  const Integers head(from.dims.begin(), cut), tail(cut + 1, from.dims.end());
  Integers dims = head;
  dims.insert(dims.end(), f.input(1).dims.begin(), f.input(1).dims.end());
  dims.insert(dims.end(), tail.begin(), tail.end());
  f.take(dims);
  const std::size_t outer = element_count(head), inner = element_count(tail);
  return with_elements(from, [&]<class T>(std::span<const T> in) {
    std::vector<T> out;
    out.reserve(element_count(dims));
    for (std::size_t o = 0; o < outer; ++o) {
      for (const std::int64_t index : indices) {
        const std::size_t i = axis_of(f.node, index, std::size_t(*cut));
        const auto run = in.subspan((o * std::size_t(*cut) + i) * inner, inner);
        out.insert(out.end(), run.begin(), run.end());
      }
    }
    return make(dims, std::move(out));
  });
}

// --- making numbers --------------------------------------------------------------------------

Constant fold_constant(const Folding& f) {
  if (const Constant* value = f.node.tensor("value")) {
    return *value;
  }
  if (const Integers* values = f.node.integers("value_ints")) {
    return {{std::int64_t(values->size())}, *values};
  }
  if (const auto* values = f.node.reals("value_floats")) {
    return make({std::int64_t(values->size())}, *values);
  }
  if (f.node.has("value_int")) {
    return {{}, Integers{f.node.integer("value_int", 0)}};
  }
  if (f.node.has("value_float")) {
    return make({}, std::vector<float>{f.node.real("value_float", 0)});
  }
  f.node.unsupported("it holds neither numbers nor a dense tensor of numbers");
}

Constant fold_constant_of_shape(const Folding& f) {
  static const Constant zero = make({1}, std::vector<float>{0});
  const Constant* given = f.node.tensor("value");
  const Constant& value = given == nullptr ? zero : *given;
  if (value.size() != 1) {
    f.node.malformed("its value is not one number");
  }
  const Integers& dims = f.integers(0);
  return gathered(f, value, dims, Integers(dims.size(), 0));
}

template <class T>
Constant range_of(const Folding& f, T start, T limit, T delta) {
  const double count = std::ceil((double(limit) - double(start)) / double(delta));
  if (delta == T{} || !(count < 1e9)) {
    f.node.malformed("delta 0, or an absurdly long range");
  }
  const Integers dims{count > 0 ? std::int64_t(count) : 0};
  f.take(dims);
  std::vector<T> out;
  for (std::int64_t i = 0; i < dims[0]; ++i) {
    out.push_back(static_cast<T>(start + static_cast<T>(i) * delta));
  }
  return make(dims, std::move(out));
}

Constant fold_range(const Folding& f) {
  for (std::size_t i = 0; i < 3; ++i) {
    if (f.input(i).size() != 1 || f.input(i).integral() != f.input(0).integral()) {
      f.node.malformed("start, limit and delta are not scalars of one type");
    }
  }
  if (!f.input(0).integral()) {
    return range_of(f, f.input(0).floats()[0], f.input(1).floats()[0], f.input(2).floats()[0]);
  }
  constexpr std::int64_t far = std::int64_t{1} << 40;  // keeps sums of them exact
  const auto near = [&](std::size_t i) { return std::clamp(f.integers(i)[0], -far, far); };
  return range_of(f, near(0), near(1), near(2));
}

Constant fold_cast(const Folding& f) {
  constexpr std::int64_t real[] = {1, 10, 11, 16};              // FLOAT, FLOAT16, DOUBLE, BFLOAT16
  constexpr std::int64_t whole[] = {2, 3, 4, 5, 6, 7, 12, 13};  // (U)INT8 to (U)INT64
  constexpr std::int64_t boolean = 9;
  const std::int64_t to = f.node.integer("to", 0);
  const Constant& from = f.input(0);
  const auto is = [to](auto& list) { return std::ranges::find(list, to) != std::end(list); };
  if (!is(real) && !is(whole) && to != boolean) {
    f.node.unsupported("a cast to type " + std::to_string(to) + " is not supported");
  }
  if (is(real) ? !from.integral() : (from.integral() && to != boolean)) {
    return from;
  }
  f.take(from.dims);
  return with_elements(from, [&]<class T>(std::span<const T> in) {
    if (is(real)) {
      return make(from.dims, std::vector<float>(in.begin(), in.end()));
    }
    Integers out;
    for (const T x : in) {
      if (to == boolean) {
        out.push_back(x != T{});
      } else if (std::abs(double(x)) < 9.2e18) {  // false for NaN
        out.push_back(static_cast<std::int64_t>(x));
      } else {
        f.node.malformed("a cast of a number that no integer can hold");
      }
    }
    return make(from.dims, std::move(out));
  });
}

// --- arithmetic ------------------------------------------------------------------------------

// Integers wrap around as ONNX Runtime's do; the unsigned detour keeps that defined.
std::int64_t wrapped(std::uint64_t x) {
  return static_cast<std::int64_t>(x);
}

template <class T>
T divided(const GraphNode& node, T a, T b) {
  if constexpr (std::is_same_v<T, std::int64_t>) {
    if (b == 0 || (b == -1 && a == std::numeric_limits<T>::min())) {
      node.malformed("division by zero or overflow");
    }
  }
  return a / b;
}

template <class T>
T calculate(const GraphNode& node, T a, T b) {
  using U = std::conditional_t<std::is_same_v<T, float>, float, std::uint64_t>;
  const auto done = [](U x) {
    if constexpr (std::is_same_v<T, float>) {
      return x;
    } else {
      return wrapped(x);
    }
  };
  switch (node.type[0]) {
    case 'A':
      return done(static_cast<U>(a) + static_cast<U>(b));
    case 'S':
      return done(static_cast<U>(a) - static_cast<U>(b));
    case 'M':
      return done(static_cast<U>(a) * static_cast<U>(b));
    default:
      return divided(node, a, b);
  }
}

// Both operands stretched to one shape; they are of one type.
struct Pair {
  Constant a, b;
};
Pair stretched(const Folding& f, std::size_t first, std::size_t second) {
  const Constant &a = f.input(first), &b = f.input(second);
  if (a.integral() != b.integral()) {
    f.node.malformed("its operands are of different types");
  }
  const Integers dims = broadcast(f.node, a.dims, b.dims);
  return {expanded(f, a, dims), expanded(f, b, dims)};
}

Constant fold_arithmetic(const Folding& f) {
  const Pair pair = stretched(f, 0, 1);
  f.take(pair.a.dims);
  return with_elements(pair.a, [&]<class T>(std::span<const T> a) {
    const std::span<const T> b = elements<T>(pair.b);
    std::vector<T> out;
    for (std::size_t i = 0; i < a.size(); ++i) {
      out.push_back(calculate(f.node, a[i], b[i]));
    }
    return make(pair.a.dims, std::move(out));
  });
}

Constant fold_equal(const Folding& f) {
  const Pair pair = stretched(f, 0, 1);
  f.take(pair.a.dims);
  return with_elements(pair.a, [&]<class T>(std::span<const T> a) {
    const std::span<const T> b = elements<T>(pair.b);
    Integers out;
    for (std::size_t i = 0; i < a.size(); ++i) {
      out.push_back(a[i] == b[i]);
    }
    return make(pair.a.dims, std::move(out));
  });
}

Constant fold_where(const Folding& f) {
  f.integers(0);
  Pair pair = stretched(f, 1, 2);
  const Integers dims = broadcast(f.node, f.input(0).dims, pair.a.dims);
  const Constant condition = expanded(f, f.input(0), dims);
  pair = {expanded(f, pair.a, dims), expanded(f, pair.b, dims)};
  f.take(dims);
  return with_elements(pair.a, [&]<class T>(std::span<const T> a) {
    const std::span<const T> b = elements<T>(pair.b);
    std::vector<T> out;
    for (std::size_t i = 0; i < a.size(); ++i) {
      out.push_back(condition.integers()[i] != 0 ? a[i] : b[i]);
    }
    return make(dims, std::move(out));
  });
}

Constant fold_floor(const Folding& f) {
  if (f.input(0).integral()) {
    f.node.malformed("its input does not hold floats");
  }
  f.take(f.input(0).dims);
  std::vector<float> out;
  for (const float x : f.input(0).floats()) {
    out.push_back(std::floor(x));
  }
  return make(f.input(0).dims, std::move(out));
}

Constant fold_identity(const Folding& f) {
  return f.input(0);
}

using Folder = Constant (*)(const Folding&);

const std::unordered_map<std::string_view, Folder>& folders() {
  static const std::unordered_map<std::string_view, Folder> table = {
      {"Add", fold_arithmetic},
      {"Cast", fold_cast},
      {"Concat", fold_concat},
      {"Constant", fold_constant},
      {"ConstantOfShape", fold_constant_of_shape},
      {"Div", fold_arithmetic},
      {"Equal", fold_equal},
      {"Expand", fold_expand},
      {"Flatten", fold_flatten},
      {"Floor", fold_floor},
      {"Gather", fold_gather},
      {"Identity", fold_identity},
      {"Mul", fold_arithmetic},
      {"Range", fold_range},
      {"Reshape", fold_reshape},
      {"Shape", fold_shape},
      {"Slice", fold_slice},
      {"Squeeze", fold_squeeze},
      {"Sub", fold_arithmetic},
      {"Transpose", fold_transpose},
      {"Unsqueeze", fold_unsqueeze},
      {"Where", fold_where},
  };
  return table;
}

}  // namespace

void Allowance::take(const GraphNode& node, std::size_t elements) {
  if (elements > left_) {
    node.unsupported("constants that the file makes while it is read grow too large");
  }
  left_ -= elements;
}

bool can_fold(std::string_view operation) {
  return folders().contains(operation);
}

Constant fold(const GraphNode& node, std::int64_t opset, const std::vector<const Constant*>& inputs,
              Allowance& allowance) {
  return folders().at(node.type)({node, opset, inputs, allowance});
}

}  // namespace sbcnn::importer
