// What a template can call. Must not know how calls are run.
#pragma once

#include <cstdint>

#include "models/jinja/value.h"

namespace ebb::models::jinja {

struct Builtin;          // models/jinja/builtins.h
struct MacroDefinition;  // models/jinja/ast.h
struct Scope;            // models/jinja/machine.h

/// Callables live in scopes only, never inside lists, mappings or namespaces: so a macro's scope is
/// there whenever the macro can be named.
struct Callable {
  enum class Kind : uint8_t { kBuiltin, kMacro, kNamespace, kDict, kCycle };
  Kind kind = Kind::kBuiltin;
  const Builtin* builtin = nullptr;
  Value subject;  ///< what a method was taken from; of kCycle the loop
  const MacroDefinition* macro = nullptr;
  Scope* scope = nullptr;  ///< where the macro was defined
};

}  // namespace ebb::models::jinja
