#include "core/model_header.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <msgpack.hpp>

#include "core/error.h"

namespace sbcnn {
namespace {

static_assert(std::endian::native == std::endian::little, "weights are stored little endian");

constexpr char kMagic[] = {'s', 'b', 'c', 'n', 'n', '\0', '\r', '\n'};
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kPrefix = sizeof(kMagic) + 2 * sizeof(std::uint32_t);
constexpr std::size_t kMaxHeader = std::size_t{16} << 20;

[[noreturn]] void malformed(const std::string& why) {
  throw Error(Error::Code::format, "its header is damaged: " + why);
}

// --- layers as lists of numbers ----------------------------------------------------------------
// `fields` visits the parameters of a layer in the order of the file, to write and to read them.

template <class V>
void fields(V& v, Extent& e) {
  v(e.height);
  v(e.width);
}
template <class V>
void fields(V& v, Border& b) {
  v(b.top);
  v(b.left);
  v(b.bottom);
  v(b.right);
}
template <class V>
void fields(V& v, Activation& a) {
  v(a.kind);
  v(a.alpha);
  v(a.beta);
}
template <class V>
void fields(V& v, Window& w) {
  fields(v, w.kernel);
  fields(v, w.stride);
  fields(v, w.dilation);
  fields(v, w.pads);
  v(w.ceil_mode);
}
template <class V>
void fields(V& v, Stride& s) {
  v(s.begin);
  v(s.end);
  v(s.step);
}
template <class V>
void fields(V& v, Conv& l) {
  v(l.outputs);
  fields(v, l.kernel);
  fields(v, l.stride);
  fields(v, l.dilation);
  fields(v, l.pads);
  v(l.groups);
  fields(v, l.activation);
}
template <class V>
void fields(V& v, Dense& l) {
  v(l.outputs);
}
template <class V>
void fields(V& v, MaxPool& l) {
  fields(v, l.window);
}
template <class V>
void fields(V& v, AveragePool& l) {
  fields(v, l.window);
  v(l.count_include_pad);
}
template <class V>
void fields(V& v, Activate& l) {
  fields(v, l.activation);
}
template <class V>
void fields(V& v, Add& l) {
  fields(v, l.activation);
}
template <class V>
void fields(V& v, Slice& l) {
  v(l.channels.begin);
  v(l.channels.end);
  fields(v, l.rows);
  fields(v, l.columns);
}
template <class V>
void fields(V& v, Pad& l) {
  fields(v, l.pads);
  v(l.channels_before);
  v(l.channels_after);
  v(l.value);
}
template <class V>
void fields(V& v, ChannelShuffle& l) {
  v(l.groups);
}
template <class V, class L>
requires std::is_empty_v<L>
void fields(V&, L&) {}

// --- writing -----------------------------------------------------------------------------------

using Packer = msgpack::packer<msgpack::sbuffer>;

struct FieldCounter {
  std::uint32_t count = 0;
  template <class T>
  void operator()(const T&) {
    ++count;
  }
};

struct FieldWriter {
  Packer& out;
  template <class T>
  void operator()(const T& x) {
    if constexpr (std::is_enum_v<T>) {
      out.pack(static_cast<int>(x));
    } else {
      out.pack(x);
    }
  }
};

std::uint32_t length(std::size_t n) {
  return static_cast<std::uint32_t>(n);
}

void pack_layer(Packer& out, Layer layer) {
  out.pack(std::string(name_of(layer)));
  std::visit(
      [&](auto& l) {
        FieldCounter counter;
        fields(counter, l);
        out.pack_array(counter.count);
        FieldWriter writer{out};
        fields(writer, l);
      },
      layer);
}

// [name, layer, [parameters], [inputs], [weight offset, floats, bias offset, floats]]
void pack_node(Packer& out, const Node& node, const NodeBlobs& blobs) {
  out.pack_array(5);
  out.pack(node.name);
  pack_layer(out, node.layer);
  out.pack(node.inputs);
  out.pack_array(4);
  for (const BlobPlace& place : {blobs.weight, blobs.bias}) {
    out.pack(std::uint64_t{place.offset});
    out.pack(std::uint64_t{place.count});
  }
}

void pack_preprocess(Packer& out, const std::optional<Preprocess>& preprocess) {
  if (!preprocess) {
    out.pack_nil();
    return;
  }
  out.pack_array(4);
  out.pack(static_cast<int>(preprocess->order));
  out.pack(static_cast<int>(preprocess->fit));
  out.pack(preprocess->mean);
  out.pack(preprocess->stddev);
}

// --- reading -----------------------------------------------------------------------------------

using Object = msgpack::object;

std::span<const Object> array(const Object& o, const char* what) {
  if (o.type != msgpack::type::ARRAY) {
    malformed(std::string(what) + " is no list");
  }
  return {o.via.array.ptr, o.via.array.size};
}

std::span<const Object> array(const Object& o, const char* what, std::size_t size) {
  const auto out = array(o, what);
  if (out.size() != size) {
    malformed(std::string(what) + " has " + std::to_string(out.size()) + " entries");
  }
  return out;
}

template <class T>
T as(const Object& o, const char* what) {
  try {
    return o.as<T>();
  } catch (const msgpack::type_error&) {
    malformed(std::string(what) + " is of a wrong type or out of range");
  }
}

template <class E>
E as_enum(const Object& o, E last, const char* what) {
  const int value = as<int>(o, what);
  if (value < 0 || value > static_cast<int>(last)) {
    malformed(std::string(what) + " out of range");
  }
  return static_cast<E>(value);
}

template <class T>
std::vector<T> as_list(const Object& o, const char* what) {
  std::vector<T> out;
  for (const Object& x : array(o, what)) {
    out.push_back(as<T>(x, what));
  }
  return out;
}

struct FieldReader {
  std::span<const Object> in;

  const Object& next() {
    if (in.empty()) {
      malformed("a layer lacks parameters");
    }
    const Object& object = in.front();
    in = in.subspan(1);
    return object;
  }
  template <class T>
  void operator()(T& x) {
    x = as<T>(next(), "a layer's parameter");
  }
  void operator()(Activation::Kind& kind) {
    kind = as_enum(next(), Activation::Kind::hard_swish, "an activation");
  }
};

// Calls f(layer) with a default layer of each kind until it returns true.
template <class F, std::size_t... I>
bool any_layer(const F& f, std::index_sequence<I...>) {
  return (f(Layer(std::in_place_index<I>)) || ...);
}

Layer unpack_layer(const std::string& name, std::span<const Object> parameters) {
  Layer out;
  const bool known = any_layer(
      [&](Layer layer) {
        if (name_of(layer) != name) {
          return false;
        }
        out = std::move(layer);
        return true;
      },
      std::make_index_sequence<std::variant_size_v<Layer>>());
  if (!known) {
    malformed("there is no layer of that name");
  }
  FieldReader reader{parameters};
  std::visit([&](auto& l) { fields(reader, l); }, out);
  if (!reader.in.empty()) {
    malformed("a layer has too many parameters");
  }
  return out;
}

void unpack_node(const Object& object, Header& header) {
  const auto parts = array(object, "a node", 5);
  Node node;
  node.name = as<std::string>(parts[0], "a node's name");
  node.layer = unpack_layer(as<std::string>(parts[1], "a layer's name"),
                            array(parts[2], "a layer's parameters"));
  node.inputs = as_list<Value>(parts[3], "a node's inputs");
  const auto made = static_cast<Value>(header.nodes.size());
  for (const Value v : node.inputs) {
    if (v < 0 || v > made) {
      malformed("a node reads what does not exist yet");
    }
  }
  const auto places = as_list<std::uint64_t>(parts[4], "a node's weights");
  if (places.size() != 4) {
    malformed("a node's weights are not two places");
  }
  header.blobs.push_back({{places[0], places[1]}, {places[2], places[3]}});
  header.nodes.push_back(std::move(node));
}

std::optional<Preprocess> unpack_preprocess(const Object& object, const Shape& input) {
  if (object.is_nil()) {
    return std::nullopt;
  }
  const auto parts = array(object, "preprocess", 4);
  Preprocess out;
  out.order = as_enum(parts[0], Preprocess::Order::grey, "the order of channels");
  out.fit = as_enum(parts[1], Preprocess::Fit::crop, "the fit");
  out.mean = as_list<float>(parts[2], "mean");
  out.stddev = as_list<float>(parts[3], "stddev");
  const auto channels = static_cast<std::size_t>(input.channels);
  if (out.mean.size() != channels || out.stddev.size() != channels) {
    malformed("mean and stddev do not fit the input's channels");
  }
  return out;
}

Shape unpack_shape(const Object& object) {
  const auto sizes = as_list<int>(object, "the input's shape");
  if (sizes.size() != 3 || std::ranges::any_of(sizes, [](int s) { return s < 1; })) {
    malformed("the input's shape is not three sizes");
  }
  const auto pixels = std::int64_t{sizes[0]} * sizes[1];
  if (pixels > (std::int64_t{1} << 31) / sizes[2]) {
    malformed("the input is absurdly large");
  }
  return {sizes[0], sizes[1], sizes[2]};
}

// Refuses weights so many that counting them overflows: no file holds them, but a header can name
// them.
void check_kernel(const Node& node, const Model& model) {
  constexpr double most = double(std::uint64_t{1} << 40);
  const auto* conv = std::get_if<Conv>(&node.layer);
  if (conv != nullptr && !node.inputs.empty() &&
      double(conv->outputs) * model.shape(node.inputs[0]).channels * conv->kernel.height *
              conv->kernel.width >
          most) {
    malformed("convolution '" + node.name + "' has absurdly many weights");
  }
}

std::uint32_t word_at(std::span<const std::byte> bytes, std::size_t offset) {
  std::uint32_t word = 0;
  std::memcpy(&word, bytes.data() + offset, sizeof(word));
  return word;
}

// Checks what stands before the msgpack part, and returns that.
std::span<const std::byte> payload(std::span<const std::byte> bytes) {
  if (!has_magic(bytes)) {
    throw Error(Error::Code::format, bytes.empty() ? "it is empty" : "it is no .sbcnn file");
  }
  if (bytes.size() < kPrefix) {
    malformed("it is cut short");
  }
  const std::uint32_t version = word_at(bytes, sizeof(kMagic));
  if (version != kVersion) {
    throw Error(Error::Code::unsupported,
                "format version " + std::to_string(version) + ", this sbcnn reads version " +
                    std::to_string(kVersion) + "; convert the model again");
  }
  const std::size_t size = word_at(bytes, sizeof(kMagic) + sizeof(version));
  if (size > kMaxHeader || size > bytes.size() - kPrefix) {
    malformed("it is cut short");
  }
  return bytes.subspan(kPrefix, size);
}

msgpack::object_handle unpack(std::span<const std::byte> bytes) {
  // Lists announce their length before their entries: none is longer than the header has bytes.
  const std::size_t most = std::min<std::size_t>(bytes.size(), 1 << 20);
  const msgpack::unpack_limit limit(most, 0, most, 0, 0, 8);
  try {
    std::size_t end = 0;
    auto handle = msgpack::unpack(reinterpret_cast<const char*>(bytes.data()), bytes.size(), end,
                                  nullptr, nullptr, limit);
    if (end == bytes.size()) {
      return handle;
    }
  } catch (const msgpack::unpack_error&) {
  }
  malformed("it is not one msgpack object");
}

}  // namespace

bool has_magic(std::span<const std::byte> bytes) {
  return bytes.size() >= sizeof(kMagic) && std::memcmp(bytes.data(), kMagic, sizeof(kMagic)) == 0;
}

// [name, [height, width, channels], preprocess or nil, [labels], [nodes]]
std::vector<std::byte> encode_header(const Model& model, const BlobTable& blobs) {
  require(blobs.size() == model.nodes().size(), "encode_header: one entry a node");
  msgpack::sbuffer buffer;
  Packer out(buffer);
  const Shape input = model.shape(model.input());
  out.pack_array(5);
  out.pack(model.name);
  out.pack(std::vector<int>{input.height, input.width, input.channels});
  pack_preprocess(out, model.preprocess);
  out.pack(model.labels);
  out.pack_array(length(blobs.size()));
  for (std::size_t n = 0; n < blobs.size(); ++n) {
    pack_node(out, model.nodes()[n], blobs[n]);
  }
  if (buffer.size() > kMaxHeader) {
    throw Error(Error::Code::unsupported, "network '" + model.name + "' is too large to describe");
  }
  std::vector<std::byte> bytes(kPrefix + buffer.size());
  const std::uint32_t words[] = {kVersion, length(buffer.size())};
  std::memcpy(bytes.data(), kMagic, sizeof(kMagic));
  std::memcpy(bytes.data() + sizeof(kMagic), words, sizeof(words));
  std::memcpy(bytes.data() + kPrefix, buffer.data(), buffer.size());
  return bytes;
}

std::vector<std::byte> encode_layer(const Layer& layer) {
  msgpack::sbuffer buffer;
  Packer out(buffer);
  pack_layer(out, layer);
  const auto* begin = reinterpret_cast<const std::byte*>(buffer.data());
  return {begin, begin + buffer.size()};
}

Header decode_header(std::span<const std::byte> bytes) {
  const auto body = payload(bytes);
  const msgpack::object_handle handle = unpack(body);
  const auto parts = array(handle.get(), "the network", 5);
  Header header{Model(unpack_shape(parts[1])), {}, {}, kPrefix + body.size()};
  header.model.name = as<std::string>(parts[0], "the network's name");
  header.model.preprocess = unpack_preprocess(parts[2], header.model.shape(0));
  header.model.labels = as_list<std::string>(parts[3], "the labels");
  for (const Object& node : array(parts[4], "the nodes")) {
    unpack_node(node, header);
  }
  return header;
}

Model build_model(Header&& header, const std::function<Blob(const BlobPlace&)>& load) {
  for (std::size_t n = 0; n < header.nodes.size(); ++n) {
    Node& node = header.nodes[n];
    check_kernel(node, header.model);
    Blob weight = load(header.blobs[n].weight), bias = load(header.blobs[n].bias);
    header.model.add(std::move(node.name), std::move(node.layer), std::move(node.inputs),
                     std::move(weight), std::move(bias));
  }
  return std::move(header.model);
}

}  // namespace sbcnn
