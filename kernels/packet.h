// One vector register of floats, under names of our own. Only files that are compiled per
// instruction set include this header; SBCNN_ISA names the one being compiled.
//
// Eigen's packet types are the portable layer over SSE, AVX, AVX-512 and NEON. They live in
// Eigen::internal, which may change with any release, and their functions are inline: compiled
// with three different -march they would be three bodies of one symbol. So (1) nothing else names
// Eigen::internal, and (2) Eigen itself is included under a namespace of its own per ISA.
#pragma once

#if !defined(SBCNN_ISA) || !defined(SBCNN_ISA_EIGEN)
#error "packet.h belongs to files that kernels/meson.build compiles per instruction set"
#endif

#define EIGEN_DONT_PARALLELIZE
#define EIGEN_NO_DEBUG
#define Eigen SBCNN_ISA_EIGEN
#include <Eigen/Core>
#undef Eigen

#include <cstddef>

#if defined(__GNUC__) && !defined(__clang__)
// Register types carry alignment attributes, which templates drop; we pass them by value only.
#pragma GCC diagnostic ignored "-Wignored-attributes"
#endif

#define SBCNN_INLINE inline __attribute__((always_inline))

// Full unrolling of a loop of constant length; of at most 16 rounds, for GCC wants a number.
#if defined(__clang__)
#define SBCNN_UNROLL _Pragma("clang loop unroll(full)")
#else
#define SBCNN_UNROLL _Pragma("GCC unroll 16")
#endif

namespace sbcnn::kernels::SBCNN_ISA {

namespace packets = SBCNN_ISA_EIGEN::internal;

using Packet = packets::packet_traits<float>::type;
inline constexpr int kLanes = packets::packet_traits<float>::size;

SBCNN_INLINE Packet load(const float* p) {
  return packets::ploadu<Packet>(p);
}
SBCNN_INLINE Packet load_aligned(const float* p) {
  return packets::pload<Packet>(p);
}
SBCNN_INLINE void store(float* p, Packet v) {
  packets::pstoreu(p, v);
}
SBCNN_INLINE Packet broadcast(float x) {
  return packets::pset1<Packet>(x);
}
SBCNN_INLINE Packet zero() {
  return packets::pzero(Packet{});
}
SBCNN_INLINE Packet add(Packet a, Packet b) {
  return packets::padd(a, b);
}
SBCNN_INLINE Packet mul(Packet a, Packet b) {
  return packets::pmul(a, b);
}
SBCNN_INLINE Packet div(Packet a, Packet b) {
  return packets::pdiv(a, b);
}
SBCNN_INLINE Packet multiply_add(Packet a, Packet b, Packet c) {
  return packets::pmadd(a, b, c);
}
SBCNN_INLINE Packet exp(Packet a) {
  return packets::pexp(a);
}
// max, min: a NaN in a stays one.
SBCNN_INLINE Packet max(Packet a, Packet b) {
  return packets::pmax(a, b);
}
SBCNN_INLINE Packet min(Packet a, Packet b) {
  return packets::pmin(a, b);
}

// The first n lanes, 1 ... kLanes; never touches memory beyond them.
#if defined(__AVX__)
using Mask = packets::unpacket_traits<Packet>::mask_t;
SBCNN_INLINE Mask first_lanes(int n) {
  return static_cast<Mask>((1u << n) - 1);
}
SBCNN_INLINE Packet load(const float* p, int n) {
  return packets::ploadu<Packet>(p, first_lanes(n));
}
SBCNN_INLINE void store(float* p, Packet v, int n) {
  packets::pstoreu(p, v, first_lanes(n));
}
#else
SBCNN_INLINE Packet load(const float* p, int n) {
  alignas(Packet) float lanes[kLanes] = {};
  for (int i = 0; i < n; ++i) {
    lanes[i] = p[i];
  }
  return load_aligned(lanes);
}
SBCNN_INLINE void store(float* p, Packet v, int n) {
  alignas(Packet) float lanes[kLanes];
  packets::pstore(lanes, v);
  for (int i = 0; i < n; ++i) {
    p[i] = lanes[i];
  }
}
#endif

// sum += w * x[Lane], for a packet x that holds kLanes taps of one pixel. Only NEON multiplies by a
// lane; from AVX on a broadcast from memory costs no arithmetic. Spelled out, or compilers may
// first copy the lane into a vector of its own.
#if defined(__aarch64__)
template <int Lane>
SBCNN_INLINE void accumulate_lane(Packet& sum, Packet w, Packet x) {
  asm("fmla %0.4s, %1.4s, %2.s[%c3]" : "+w"(sum) : "w"(w), "w"(x), "i"(Lane));
}
#endif

// Two neighbouring floats, over and over; a load and nothing else. A vector of weights that holds
// two taps of kLanes / 2 channels, in turns, multiplies them in at once, so that a half-full vector
// of channels costs half. What comes out is to be added in pairs.
#if defined(__AVX__)
inline constexpr bool kPairsTaps = true;
SBCNN_INLINE Packet broadcast_pair(const float* p) {
  double pair;
  __builtin_memcpy(&pair, p, sizeof pair);
  return (Packet)packets::pset1<packets::packet_traits<double>::type>(pair);
}
#if defined(__AVX512F__)
#define SBCNN_EVEN_LANES 0, 2, 4, 6, 8, 10, 12, 14, 0, 2, 4, 6, 8, 10, 12, 14
#define SBCNN_ODD_LANES 1, 3, 5, 7, 9, 11, 13, 15, 1, 3, 5, 7, 9, 11, 13, 15
#else
#define SBCNN_EVEN_LANES 0, 2, 4, 6, 0, 2, 4, 6
#define SBCNN_ODD_LANES 1, 3, 5, 7, 1, 3, 5, 7
#endif
SBCNN_INLINE Packet add_pairs(Packet v) {  // in the first half of the result
  return add((Packet)__builtin_shufflevector(v, v, SBCNN_EVEN_LANES),
             (Packet)__builtin_shufflevector(v, v, SBCNN_ODD_LANES));
}
#undef SBCNN_EVEN_LANES
#undef SBCNN_ODD_LANES
#else
inline constexpr bool kPairsTaps = false;
SBCNN_INLINE Packet broadcast_pair(const float*) {
  return zero();
}
SBCNN_INLINE Packet add_pairs(Packet v) {
  return v;
}
#endif

// sum += a * b, in place. Compilers know three forms of the x86 instruction, pick the one that
// overwrites a or b where that is its last use, and so move the sums of a tile through all
// registers until some spill. Spelling the instruction out keeps each sum where it is.
SBCNN_INLINE void accumulate(Packet& sum, Packet a, Packet b) {
#if defined(__FMA__)
  asm("vfmadd231ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
#else
  sum = multiply_add(a, b, sum);
#endif
}

// Stops the compiler from recomputing an address in the inner loop.
template <class Element>
SBCNN_INLINE void keep_address(const Element*& p) {
  asm("" : "+r"(p));
}

}  // namespace sbcnn::kernels::SBCNN_ISA
