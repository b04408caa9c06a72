// Buffers of MPI's verbs: (buffer, count, datatype) in one value.
//
// They convert from spans, vectors and arrays of float, Half, int8, int32 or bytes that outlive
// the expression. Temporary vectors, const receive buffers and other element types do not
// compile; neither do reductions of halves or bytes (halves lose too much in a sum: convert them
// to floats first). Elements travel as they lie in memory, so all boards are little endian.
//
// A send buffer may be shared instead: of a shared_ptr to a vector or an array, long segments are
// not copied to be sent. Its elements must then not change while others hold it, which may be for
// longer than the verb takes: until the last of its messages is with the kernel (use_count). None
// is a buffer of no elements.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <ranges>
#include <span>
#include <type_traits>
#include <utility>

#include "core/half.h"

namespace sbcnn::net {

enum class ElementType : std::uint8_t { bytes, int8, int32, float16, float32 };

template <class T>
inline constexpr bool kIsElement = false;
template <>
inline constexpr bool kIsElement<std::byte> = true;
template <>
inline constexpr bool kIsElement<std::int8_t> = true;
template <>
inline constexpr bool kIsElement<std::int32_t> = true;
template <>
inline constexpr bool kIsElement<Half> = true;
template <>
inline constexpr bool kIsElement<float> = true;

// What reductions take.
template <class T>
concept Number =
    std::is_same_v<T, float> || std::is_same_v<T, std::int32_t> || std::is_same_v<T, std::int8_t>;

template <class T>
requires kIsElement<T>
constexpr ElementType element_type() {
  if constexpr (std::is_same_v<T, float>) {
    return ElementType::float32;
  } else if constexpr (std::is_same_v<T, Half>) {
    return ElementType::float16;
  } else if constexpr (std::is_same_v<T, std::int32_t>) {
    return ElementType::int32;
  } else if constexpr (std::is_same_v<T, std::int8_t>) {
    return ElementType::int8;
  } else {
    return ElementType::bytes;
  }
}

constexpr std::size_t size_of(ElementType type) {
  switch (type) {
    case ElementType::bytes:
    case ElementType::int8:
      return 1;
    case ElementType::float16:
      return 2;
    case ElementType::int32:
    case ElementType::float32:
      break;
  }
  return 4;
}

template <class R>
concept Elements = std::ranges::contiguous_range<R> && std::ranges::borrowed_range<R> &&
    kIsElement<std::ranges::range_value_t<R>>;
// What owns its elements.
template <class R>
concept Container = std::ranges::contiguous_range<R> && !std::ranges::view<R> &&
                    kIsElement<std::remove_const_t<std::ranges::range_value_t<R>>>;
template <class R>
concept WritableElements =
    Elements<R> && !std::is_const_v<std::remove_reference_t<std::ranges::range_reference_t<R>>>;
template <class R>
concept Numbers = Elements<R> && Number<std::ranges::range_value_t<R>>;

struct SendBuffer {
  SendBuffer() = default;
  template <Elements R>
  SendBuffer(R&& r)  // NOLINT(google-explicit-constructor)
      : bytes(std::as_bytes(std::span(r))), type(element_type<std::ranges::range_value_t<R>>()) {}
  template <Container R>
  SendBuffer(std::shared_ptr<R> shared)  // NOLINT(google-explicit-constructor)
      : SendBuffer(shared ? std::span(*shared) : decltype(std::span(*shared))()) {
    owner = std::move(shared);
  }
  std::size_t element() const { return size_of(type); }  // bytes of one
  std::size_t count() const { return bytes.size() / element(); }

  std::span<const std::byte> bytes;
  ElementType type = ElementType::bytes;
  std::shared_ptr<const void> owner;
};

struct ReceiveBuffer {
  ReceiveBuffer() = default;
  template <WritableElements R>
  ReceiveBuffer(R&& r)  // NOLINT(google-explicit-constructor)
      : bytes(std::as_writable_bytes(std::span(r))),
        type(element_type<std::ranges::range_value_t<R>>()) {}
  std::size_t element() const { return size_of(type); }
  std::size_t count() const { return bytes.size() / element(); }

  std::span<std::byte> bytes;
  ElementType type = ElementType::bytes;
};

// The same for reductions.
struct Addends : SendBuffer {
  template <Numbers R>
  Addends(R&& r)  // NOLINT(google-explicit-constructor)
      : SendBuffer(r) {}
  template <Container R>
  requires Number<std::remove_const_t<std::ranges::range_value_t<R>>> Addends(
      std::shared_ptr<R> shared)  // NOLINT(google-explicit-constructor)
      : SendBuffer(std::move(shared)) {}
};
struct Totals : ReceiveBuffer {
  template <WritableElements R>
  requires Numbers<R> Totals(R&& r)  // NOLINT(google-explicit-constructor)
      : ReceiveBuffer(r) {}
};

}  // namespace sbcnn::net
