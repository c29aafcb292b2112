#include "score/word_lists.h"

#include <sstream>

namespace ebb::score {
namespace {

std::vector<std::string> words_of(const char* text) {
  std::istringstream in(text);
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

}  // namespace

const std::vector<std::string>& cities() {
  static const std::vector<std::string> kCities = words_of(
      "Paris London Berlin Madrid Rome Vienna Prague Warsaw Lisbon Dublin Oslo Stockholm Helsinki "
      "Copenhagen Athens Budapest Brussels Amsterdam Zurich Geneva Milan Naples Venice Florence "
      "Tokyo Osaka Kyoto Seoul Beijing Shanghai Delhi Mumbai Cairo Nairobi Lagos Sydney Melbourne "
      "Toronto Montreal Chicago Boston Denver Dallas Houston Seattle Lima Bogota Santiago");
  return kCities;
}

const std::vector<std::string>& common_words() {
  static const std::vector<std::string> kWords = words_of(
      "apple river stone bread chair window garden bridge candle pencil mirror basket blanket "
      "bottle bucket button camera carpet castle cheese cherry church circle cloud coffee collar "
      "copper corner cotton cousin cradle curtain desert dinner doctor dragon drawer engine fabric "
      "farmer feather fence finger flower forest fountain frame gallery giant glass glove grain "
      "grape hammer harbor helmet honey horse hotel island jacket jewel jungle kettle kitchen "
      "ladder lantern leather lemon letter library lizard lobster market meadow medal melon metal "
      "monkey morning mountain museum music needle nephew notebook number ocean office olive onion "
      "orange orchard oven oyster paddle palace paper parrot pasture peach pepper piano picture "
      "pigeon pillow pirate planet plate pocket poem pond potato powder prince prison puzzle "
      "quarry queen rabbit radio railway rainbow ribbon rifle ring road robin rocket roof rope "
      "rose "
      "saddle sailor salad salmon sand school scissors season shadow sheep shelf shirt shoulder "
      "signal silver singer sister sleeve snow soldier soup spider spoon spring square stable "
      "station statue stomach storm story street sugar summer sunset supper table tailor teacher "
      "temple tent theater thread throne thunder ticket tiger timber tobacco tomato tongue tower "
      "trail train treasure triangle trumpet tunnel turkey turtle uncle valley vase vegetable "
      "village violin volcano wagon wallet walnut water weather wedding whale wheat wheel whistle "
      "winter wolf woman wood wool worker yard zebra acorn anchor ankle arrow attic bacon badge "
      "barrel beach beard berry bishop boot branch brick broom cabin cactus");
  return kWords;
}

const std::vector<std::string>& idle_sentences() {
  static const std::vector<std::string> kSentences = {
      "The road goes on between the fields.",
      "A bird sits on the fence and sings.",
      "In the evening the lamps are lit.",
      "The baker opens the shop before the sun is up.",
      "Some leaves fall into the pond.",
      "Two children walk along the wall.",
      "The train is late again.",
      "Nobody has seen the cat since noon.",
      "Rain comes over the hills.",
      "An old man reads the paper by the door.",
      "The soup is still warm.",
      "Far away a bell rings twice."};
  return kSentences;
}

}  // namespace ebb::score
