#include "models/grammar/automaton.h"

namespace ebb::models::grammar {
namespace {

/// Calls that do not nest may pile up this high: far above what any builder here makes.
constexpr uint16_t kHeightMax = 4096;

/// What a new state costs beside its places, in the budget's units and about in eights of bytes.
constexpr uint64_t kStateCost = 64;

uint64_t mix(uint64_t hash, uint64_t value) {
  hash ^= value + 0x9e3779b97f4a7c15ull + (hash << 6) + (hash >> 2);
  return hash * 0xff51afd7ed558ccdull;
}

}  // namespace

bool Automaton::PlaceSet::insert(Place place) {
  const uint64_t key = (uint64_t{place.state} << 32) | place.stack;
  if (2 * members_.size() >= slots_.size()) grow();
  const size_t mask = slots_.size() - 1;
  size_t at = mix(0, key) & mask;
  while (slots_[at] != kEmpty) {
    if (slots_[at] == key) return false;
    at = (at + 1) & mask;
  }
  slots_[at] = key;
  members_.push_back(key);
  return true;
}

void Automaton::PlaceSet::grow() {
  const std::vector<uint64_t> members = std::move(members_);
  slots_.assign(2 * slots_.size(), kEmpty);
  members_.clear();
  for (const uint64_t key : members) {
    insert({static_cast<State>(key >> 32), static_cast<StackId>(key)});
  }
}

void Automaton::PlaceSet::clear() {
  // One large set must not make all later ones slow.
  constexpr size_t kSlotsKept = 4096;
  if (slots_.size() > kSlotsKept) slots_.assign(64, kEmpty);
  for (const uint64_t key : members_) {
    const size_t mask = slots_.size() - 1;
    for (size_t at = mix(0, key) & mask; slots_[at] != kEmpty; at = (at + 1) & mask) {
      slots_[at] = kEmpty;
    }
  }
  members_.clear();
}

Automaton::Automaton(std::shared_ptr<const Grammar> grammar) : grammar_(std::move(grammar)) {
  clear();
  due_.push_back({grammar_->start(grammar_->root()), kBottom});
  start_ = close(due_);
}

void Automaton::clear() {
  stacks_.assign(1, {});
  stack_ids_.clear();
  nodes_.clear();
  nodes_.emplace_back();
  state_ids_.clear();
  bytes_ = 0;
}

Automaton::StackId Automaton::push(StackId below, State to, Nesting nesting) {
  const uint32_t deeper = nesting == Nesting::kDeeper ? 1 : 0;
  const uint64_t key = (uint64_t{below} << 32) | (uint64_t{to} << 1) | deeper;
  static_assert(kStatesMax <= UINT32_MAX / 2);
  const auto [found, fresh] = stack_ids_.try_emplace(key, static_cast<StackId>(stacks_.size()));
  if (!fresh) return found->second;
  StackNode node;
  node.below = below;
  node.to = to;
  node.nesting = static_cast<uint8_t>(stacks_[below].nesting + deeper);
  node.height = static_cast<uint16_t>(stacks_[below].height + 1);
  stacks_.push_back(node);
  bytes_ += sizeof node + 64;  // with its entry in the map
  return found->second;
}

bool Automaton::reaches_end(Place place) const {
  const uint8_t least = grammar_->least_nesting(place.state);
  return least != kNever && stacks_[place.stack].nesting + least <= kNestingMax;
}

void Automaton::follow_call(Place place, const CallEdge& call, std::vector<Place>& due) {
  const State inside = grammar_->start(call.rule);
  if (call.tail) {
    due.push_back({inside, place.stack});
    return;
  }
  // What follows the call must be within reach too: a stack holds only returns that lead somewhere.
  if (!reaches_end({call.to, place.stack}) || stacks_[place.stack].height >= kHeightMax) return;
  due.push_back({inside, push(place.stack, call.to, call.nesting)});
}

void Automaton::follow_edges(Place place, std::vector<Place>& due) {
  for (const State to : grammar_->skips(place.state)) due.push_back({to, place.stack});
  for (const CallEdge& call : grammar_->calls(place.state)) follow_call(place, call, due);
  if (!grammar_->accepts(place.state) || place.stack == kBottom) return;
  const StackNode& top = stacks_[place.stack];
  due.push_back({top.to, top.below});
}

/// Everything that is reached without a byte, as a state.
Automaton::StateId Automaton::close(std::vector<Place>& due) {
  seen_.clear();
  std::vector<Place> places;
  bool accepts = false;
  while (!due.empty()) {
    const Place place = due.back();
    due.pop_back();
    if (!reaches_end(place)) continue;
    if (!seen_.insert(place)) continue;
    pay(1);
    if (over_budget()) return kDead;
    accepts |= place.stack == kBottom && grammar_->accepts(place.state);
    if (!grammar_->bytes(place.state).empty()) places.push_back(place);
    follow_edges(place, due);
  }
  if (places.empty() && !accepts) return kDead;
  std::sort(places.begin(), places.end());
  return intern(std::move(places), accepts);
}

Automaton::StateId Automaton::intern(std::vector<Place> places, bool accepts) {
  uint64_t hash = accepts ? 1 : 0;
  for (const Place& place : places) hash = mix(hash, (uint64_t{place.state} << 32) | place.stack);
  std::vector<StateId>& same = state_ids_[hash];
  for (const StateId id : same) {
    if (nodes_[id].accepts == accepts && nodes_[id].places == places) return id;
  }
  pay(kStateCost);
  Node node;
  node.places = std::move(places);
  node.accepts = accepts;
  bytes_ += kStateCost * 8 + node.places.size() * sizeof(Place);
  nodes_.push_back(std::move(node));
  same.push_back(static_cast<StateId>(nodes_.size() - 1));
  return same.back();
}

/// Cuts the bytes where an edge begins or ends: within a group all bytes lead to the same places.
std::unique_ptr<Automaton::Row> Automaton::make_row(const Node& node) const {
  std::array<bool, 257> cut{};
  cut[0] = true;
  for (const Place& place : node.places) {
    for (const ByteEdge& edge : grammar_->bytes(place.state)) {
      cut[edge.low] = true;
      cut[size_t{edge.high} + 1] = true;
    }
  }
  auto row = std::make_unique<Row>();
  for (size_t byte = 0; byte < 256; ++byte) {
    if (cut[byte]) row->sample.push_back(static_cast<uint8_t>(byte));
    row->group[byte] = static_cast<uint8_t>(row->sample.size() - 1);
  }
  row->targets.assign(row->sample.size(), kUnknown);
  return row;
}

Automaton::StateId Automaton::next(StateId state, uint8_t byte) {
  if (nodes_[state].row == nullptr) {
    if (state == kDead) return kDead;
    nodes_[state].row = make_row(nodes_[state]);
    bytes_ += sizeof(Row) + nodes_[state].row->targets.size() * (sizeof(StateId) + 1);
    pay(kStateCost);
  }
  const size_t group = nodes_[state].row->group[byte];
  const StateId known = nodes_[state].row->targets[group];
  if (known != kUnknown) return known;
  due_.clear();
  for (const Place& place : nodes_[state].places) {
    for (const ByteEdge& edge : grammar_->bytes(place.state)) {
      if (edge.low <= byte && byte <= edge.high) due_.push_back({edge.to, place.stack});
    }
  }
  pay(due_.size());
  const StateId target = due_.empty() ? kDead : close(due_);
  // Out of budget is not the same as no way on.
  if (!over_budget()) nodes_[state].row->targets[group] = target;
  return target;
}

Automaton::StackId Automaton::copy_stack(const std::vector<StackNode>& from, StackId stack) {
  std::vector<StackId> path;
  for (StackId at = stack; at != kBottom; at = from[at].below) path.push_back(at);
  StackId copy = kBottom;
  for (auto at = path.rbegin(); at != path.rend(); ++at) {
    const bool deeper = from[*at].nesting > from[from[*at].below].nesting;
    copy = push(copy, from[*at].to, deeper ? Nesting::kDeeper : Nesting::kSame);
  }
  return copy;
}

void Automaton::forget(std::span<StateId* const> kept) {
  const std::vector<StackNode> stacks = std::move(stacks_);
  const std::vector<Node> nodes = std::move(nodes_);
  clear();
  const auto copy = [&](StateId old) {
    if (old == kDead) return kDead;
    std::vector<Place> places = nodes[old].places;
    for (Place& place : places) place.stack = copy_stack(stacks, place.stack);
    std::sort(places.begin(), places.end());
    return intern(std::move(places), nodes[old].accepts);
  };
  start_ = copy(start_);
  for (StateId* state : kept) *state = copy(*state);
}

}  // namespace ebb::models::grammar
