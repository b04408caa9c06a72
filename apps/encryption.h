// Whether what travels between ranks is encrypted, and its sender known (net/secret.h).
#pragma once

namespace sbcnn {

enum class Encryption {
  automatic,  // as soon as a rank is not on this board: what stays here passes no wire, and who
              // listens on the loopback could as well read this process's memory
  always,
  never,
};

// `here`: whether all ranks are on this board.
inline bool encrypts(Encryption encryption, bool here) {
  return encryption == Encryption::always || (encryption == Encryption::automatic && !here);
}

// What users are told where others could listen.
inline constexpr const char* kNotEncrypted =
    "NOT ENCRYPTED: whoever is on the network can read what boards tell each other, images and "
    "weights included, and send this job what they like";

}  // namespace sbcnn
