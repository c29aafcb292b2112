// Turns the structs of messages.h into Cap'n Proto messages and back. Internal to this folder.
// Bytes from the network are checked here: a value that messages.h cannot hold throws
// kj::Exception, as Cap'n Proto itself does for a malformed message, and becomes an Error at the
// call (rpc_client.h) or an RPC exception at the peer.
#pragma once

#include <string>

#include "messages.capnp.h"
#include "transport/control/messages.h"

namespace ebb::control {

std::string to_string(capnp::Text::Reader text);

void write(const Error& from, wire::Error::Builder to);
Error read(wire::Error::Reader from);

void write(const WorkerHello& from, wire::WorkerHello::Builder to);
WorkerHello read(wire::WorkerHello::Reader from);
void write(const FormGroup& from, wire::FormGroup::Builder to);
FormGroup read(wire::FormGroup::Reader from);
void write(const FormReply& from, wire::FormReply::Builder to);
FormReply read(wire::FormReply::Reader from);
void write(const Unit& from, wire::Unit::Builder to);
Unit read(wire::Unit::Reader from);
void write(const PolicyParams& from, wire::PolicyParams::Builder to);
PolicyParams read(wire::PolicyParams::Reader from);
SetScope scope_from_wire(wire::SetScope scope);

void write(const UnitResult& from, wire::UnitResult::Builder to);
UnitResult read(wire::UnitResult::Reader from);
void write(const SequenceMap& from, wire::SequenceMap::Builder to);
SequenceMap read(wire::SequenceMap::Reader from);
void write(const PublishRequest& from, wire::PublishRequest::Builder to);
PublishRequest read(wire::PublishRequest::Reader from);
void write(const PublishReply& from, wire::PublishReply::Builder to);
PublishReply read(wire::PublishReply::Reader from);
void write(const StoreStatus& from, wire::StoreStatus::Builder to);
StoreStatus read(wire::StoreStatus::Reader from);
void write(const GranuleQuery& from, wire::GranuleQuery::Builder to);
GranuleQuery read(wire::GranuleQuery::Reader from);
void write(const GranulePage& from, wire::GranulePage::Builder to);
GranulePage read(wire::GranulePage::Reader from);

void write(const LayerRange& from, wire::LayerRange::Builder to);
LayerRange read(wire::LayerRange::Reader from);

/// Lists of numbers, element by element: `fill(builder.initPrompt(n), values)`.
template <class Builder, class T>
void fill(Builder to, const std::vector<T>& from) {
  for (size_t i = 0; i < from.size(); ++i) to.set(static_cast<capnp::uint>(i), from[i]);
}

template <class T, class Reader>
std::vector<T> numbers(Reader from) {
  std::vector<T> out;
  out.reserve(from.size());
  for (const auto value : from) out.push_back(static_cast<T>(value));
  return out;
}

/// Lists of structs, by the write() and read() of the element.
template <class Builder, class T>
void fill_structs(Builder to, const std::vector<T>& from) {
  for (size_t i = 0; i < from.size(); ++i) write(from[i], to[static_cast<capnp::uint>(i)]);
}

}  // namespace ebb::control
