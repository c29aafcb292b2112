# The calls of Ebb's control protocol.
#
# Who calls whom. A worker connects to the coordinator's control port and a coordinator connects to
# each store's; nobody connects to a worker. The only capability that a fresh connection gives out
# is Hello, whose single method is the handshake; everything else hangs off the session that a
# successful handshake returns. So a peer that does not know the cluster token can do nothing but be
# refused. A connection that has not shaken hands within five seconds is closed, and so is one after
# a refusal.
#
# Failures. What the callee refuses or fails is a value: the `error` field is set and the other
# results are not. An RPC exception means that the connection or the bytes were bad. Each caller
# puts a deadline on each call.
#
# Liveness. Every `heartbeatMillis` the coordinator pings its workers and its stores. A worker that
# has not answered a ping for five intervals is gone for the coordinator; a worker that has not been
# pinged for five intervals gives up the connection too, so that both sides of a silent partition
# come to the same conclusion.
#
# Order. Units reach a worker one at a time in the coordinator's order: a `run` is sent when the one
# before it has been answered by all ranks. `publish` and the rendezvous calls travel the other way
# while a unit runs.
#
# Size. A message is at most 128 MiB; prompts of a million tokens take 4 MiB. KV bytes never travel
# here.
@0xa7fb284344e236cb;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("ebb::control::wire");

using M = import "messages.capnp";

# --- Worker and coordinator -----------------------------------------------------------------------

# What a worker sees of the coordinator before the handshake.
interface CoordinatorHello {
  # `worker` is how the coordinator will call back. Refusals name the field and both values, but
  # never a token.
  authenticate @0 (hello :M.WorkerHello, worker :Worker)
      -> (session :WorkerSession, heartbeatMillis :UInt32, error :M.Error);
}

# What an accepted worker may ask of the coordinator.
interface WorkerSession {
  # A rank's candidates at one anchor. Answered when every rank of the group has published the same
  # (epoch, unit, anchor): with the merged set, the same bytes to all.
  publish @0 (request :M.PublishRequest) -> (reply :M.PublishReply, error :M.Error);

  # A small key-value store in which the ranks of an epoch find each other's collective addresses.
  # `get` waits until somebody has put the key.
  rendezvousPut @1 (key :Text, value :Data) -> (error :M.Error);
  rendezvousGet @2 (key :Text) -> (value :Data, error :M.Error);
}

# What the coordinator may ask of a worker.
interface Worker {
  ping @0 () -> ();

  # Make a new incarnation: drop older epochs, build the collective, connect to the stores.
  form @1 (request :M.FormGroup) -> (reply :M.FormReply, error :M.Error);

  # Run one unit. Failures of single sequences are inside the result; `error` means that the worker
  # as a whole could not.
  run @2 (unit :M.Unit) -> (result :M.UnitResult, error :M.Error);

  describe @3 (seq :UInt64) -> (map :M.SequenceMap, error :M.Error);

  # The incarnation is over: abort what runs, expect another form or the end of the connection.
  disband @4 (epoch :UInt64, why :Text) -> ();
}

# --- Coordinator and store ------------------------------------------------------------------------

# What a coordinator sees of a store before the handshake.
interface StoreHello {
  authenticate @0 (protocolVersion :UInt32, clusterToken :Text)
      -> (session :StoreSession, error :M.Error);
}

interface StoreSession {
  ping @0 () -> ();
  status @1 () -> (status :M.StoreStatus, error :M.Error);

  # One page of the granules that the store keeps: names and places, not the KV itself.
  list @2 (query :M.GranuleQuery) -> (page :M.GranulePage, error :M.Error);
}
