#include "core/onnx_metadata.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace sbcnn::importer {
namespace {

using Json = nlohmann::json;

[[noreturn]] void malformed(const std::string& key, const std::string& why) {
  throw Error(Error::Code::format, "metadata " + key + ": " + why);
}

Json parse(const std::string& key, const std::string& text) {
  Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) {
    malformed(key, "not JSON");
  }
  return json;
}

// A member of the object, of one of the kinds that `fits` accepts.
const Json& member(const Json& object, const std::string& key, const char* name) {
  const auto found = object.find(name);
  if (found == object.end()) {
    malformed(key, "'" + std::string(name) + "' is missing");
  }
  return *found;
}

template <class T, std::size_t N>
T choice(const Json& object, const std::string& key, const char* name,
         const std::pair<const char*, T> (&choices)[N]) {
  const Json& value = member(object, key, name);
  std::string all;
  for (const auto& [word, meaning] : choices) {
    if (value == word) {
      return meaning;
    }
    all += (all.empty() ? "" : ", ") + std::string(word);
  }
  malformed(key, "'" + std::string(name) + "' is none of " + all);
}

std::vector<float> numbers(const Json& object, const std::string& key, const char* name,
                           int channels) {
  const Json& list = member(object, key, name);
  std::vector<float> out;
  for (const Json& x : list.is_array() ? list : Json::array()) {
    if (x.is_number() && std::isfinite(x.get<float>())) {
      out.push_back(x.get<float>());
    }
  }
  if (!list.is_array() || out.size() != list.size() || out.size() != std::size_t(channels)) {
    malformed(key, "'" + std::string(name) + "' is not a list of " + std::to_string(channels) +
                       " numbers, one a channel of the network's input");
  }
  return out;
}

void check_size(const Json& object, const std::string& key, const char* name, int size) {
  const Json& value = member(object, key, name);
  if (value != size) {
    malformed(key, "'" + std::string(name) + "' is not " + std::to_string(size) +
                       " as the network's input");
  }
}

Preprocess preprocess(const std::string& key, const std::string& text, const Shape& input) {
  using Order = Preprocess::Order;
  using Fit = Preprocess::Fit;
  const Json json = parse(key, text);
  if (!json.is_object()) {
    malformed(key, "not an object");
  }
  check_size(json, key, "height", input.height);
  check_size(json, key, "width", input.width);
  Preprocess out;
  out.order = choice<Order, 3>(json, key, "channels",
                               {{"rgb", Order::rgb}, {"bgr", Order::bgr}, {"grey", Order::grey}});
  if ((out.order == Order::grey) != (input.channels == 1)) {
    malformed(key, "'channels' does not fit the network's input of " +
                       std::to_string(input.channels) + " channels");
  }
  out.fit = choice<Fit, 2>(json, key, "resize", {{"stretch", Fit::stretch}, {"crop", Fit::crop}});
  out.mean = numbers(json, key, "mean", input.channels);
  out.stddev = numbers(json, key, "std", input.channels);
  for (const float s : out.stddev) {
    if (!(s > 0)) {
      malformed(key, "'std' is not positive");
    }
  }
  return out;
}

std::vector<std::string> labels(const std::string& key, const std::string& text) {
  const Json json = parse(key, text);
  std::vector<std::string> out;
  for (const Json& label : json.is_array() ? json : Json::array()) {
    if (label.is_string()) {
      out.push_back(label.get<std::string>());
    }
  }
  if (!json.is_array() || out.size() != json.size()) {
    malformed(key, "not a list of strings");
  }
  return out;
}

}  // namespace

void apply_metadata(const std::map<std::string, std::string>& metadata, Model& model) {
  const auto found = [&](const char* key) { return metadata.find(key); };
  if (const auto entry = found("sbcnn.preprocess"); entry != metadata.end()) {
    model.preprocess = preprocess(entry->first, entry->second, model.shape(model.input()));
  }
  if (const auto entry = found("sbcnn.labels"); entry != metadata.end()) {
    model.labels = labels(entry->first, entry->second);
  }
}

}  // namespace sbcnn::importer
