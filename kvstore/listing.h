// How a list of granules is cut into pages: the order is that of the keys, and a cursor names the
// last key of a page together with a sum over what was asked. Pure; knows neither index nor wire.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "kvstore/requests.h"

namespace ebb::kvstore {

/// The cursor after `last`, good for lists of the same sequence (or of everything) only.
ListCursor cursor_after(const ListQuery& query, const GranuleKey& last);

/// Errors: kInvalid (limit: names the bounds; a cursor that was made for another list or by
/// nobody).
Result<void> check_query(const ListQuery& query);

/// A cursor as people and URLs carry it: 56 hexadecimal digits.
std::string to_text(const ListCursor& cursor);
/// Errors: kInvalid.
Result<ListCursor> parse_cursor(std::string_view text);

}  // namespace ebb::kvstore
