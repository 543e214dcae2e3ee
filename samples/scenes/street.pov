// Street: the camera pans with a red car past parked cars, lamp posts and shop fronts; others come the other way.
// SPDX-License-Identifier: LGPL-2.1-or-later

#version 3.7;
#include "common.inc"

// Metres.  Road z = 0 .. 7 along x, pavements beside it, houses from z = 10.
#declare Pan = -2.6 + 2.6 * Time;
Shot(<-1 + 0.5 * Time, 1.9, -9.5> + Unrest(0.008), <Pan, 2.25, 4> + Unrest(0.03), 54)

Sun(<0.5, 0.62, -0.75>, <1.0, 0.90, 0.74> * 1.7)
Fill(<-0.2, 1, -0.5>, <0.30, 0.40, 0.60> * 0.55)
Fill(<0, -1, -0.4>, <0.30, 0.27, 0.22> * 0.35)

sky_sphere {
  pigment { gradient y color_map { [0 srgb <0.86, 0.90, 0.94>] [0.6 srgb <0.36, 0.56, 0.84>] } }
  pigment {
    bozo turbulence 0.6 octaves 5 scale <0.5, 0.15, 0.4>
    color_map { [0.45 srgbt <1, 1, 1, 1>] [0.7 srgbt <0.97, 0.97, 0.98, 0.2>] }
  }
}

#declare Matt = finish { ambient 0.03 diffuse 0.78 }
#declare Glass = texture { pigment { srgb <0.08, 0.11, 0.14> } finish { ambient 0 diffuse 0.4 specular 0.5 roughness 0.01 reflection 0.3 } }
#declare White = texture { pigment { srgb <0.92, 0.90, 0.85> } finish { Matt } }
#declare Concrete = texture {
  pigment { granite scale 0.6 color_map { [0 srgb <0.50, 0.49, 0.47>] [1 srgb <0.74, 0.72, 0.68>] } }
  finish { Matt }
}

// ---- ground ----

plane {
  y, 0
  pigment { granite scale 1.4 color_map { [0.1 srgb <0.24, 0.24, 0.26>] [0.5 srgb <0.33, 0.33, 0.35>] [0.9 srgb <0.44, 0.43, 0.43>] } }
  normal { granite 0.25 scale 0.2 }
  finish { Matt }
}
#for (I, -9, 9)
  box { <I * 3, -0.1, 3.4>, <I * 3 + 1.6, 0.006, 3.55> texture { White } }
#end
#macro Pavement(From, To)
  box {
    <-60, -0.1, From>, <60, 0.15, To>
    pigment {
      brick
      pigment { srgb <0.42, 0.40, 0.38> }
      pigment { granite scale 1.3 color_map { [0.1 srgb <0.56, 0.54, 0.50>] [0.9 srgb <0.74, 0.71, 0.66>] } }
      brick_size <0.7, 3, 0.6> mortar 0.035 translate <0, -1, 0.1>
    }
    finish { Matt }
  }
#end
Pavement(7, 10)
Pavement(-14, 0)
box { <-60, -0.1, 6.85>, <60, 0.16, 7.02> texture { Concrete } }
box { <-60, -0.1, -0.02>, <60, 0.16, 0.15> texture { Concrete } }

// ---- houses ----

#macro Bricks(Dark, Light)
  texture {
    pigment {
      brick
      pigment { srgb <0.76, 0.72, 0.66> }
      pigment { granite scale <1.4, 0.4, 1> color_map { [0.1 color Dark] [0.9 color Light] } }
      brick_size <0.56, 0.2, 0.4> mortar 0.03 translate <0.1, 0.02, 0.2>
    }
    finish { Matt }
  }
#end

#macro Sash(W, H, Frame)
  union {
    box { <0, 0, -0.01>, <W, H, 0> texture { Glass } }
    box { <-0.07, -0.14, -0.16>, <W + 0.07, 0, 0> texture { Concrete } }
    box { <-0.07, H, -0.08>, <W + 0.07, H + 0.16, 0> texture { Concrete } }
    union {
      box { <0, 0, -0.05>, <0.06, H, 0> }
      box { <W - 0.06, 0, -0.05>, <W, H, 0> }
      box { <W / 2 - 0.025, 0, -0.04>, <W / 2 + 0.025, H, 0> }
      box { <0, H / 2 - 0.03, -0.05>, <W, H / 2 + 0.03, 0> }
      box { <0, 0, -0.05>, <W, 0.06, 0> }
      box { <0, H - 0.06, -0.05>, <W, H, 0> }
      pigment { color Frame } finish { Matt }
    }
  }
#end

// A shop, W wide, with Floors floors of Count windows above it.
#macro House(W, Floors, Face, Paint, Awning, Count)
  #local Top = 3.5 + 3 * Floors;
  union {
    box { <0, 0, 0>, <W, Top, 8> texture { Face } }
    box {
      <0, 0, 0>, <W, 4, 0.2>
      pigment { brick pigment { srgb <0.20, 0.21, 0.24> } pigment { granite color_map { [0.1 srgb <0.30, 0.32, 0.37>] [0.9 srgb <0.46, 0.48, 0.53>] } } brick_size <0.4, 0.35, 0.5> mortar 0.03 translate 0.15 * z }
      finish { Matt specular 0.15 }
      rotate 55 * x translate <0, Top, -0.1>
    }
    box { <W - 1.2, Top, 0.8>, <W - 0.3, Top + 2.1, 1.6> texture { Face } }
    #for (J, 0, 2)
      cylinder { <W - 1.05 + 0.3 * J, Top + 2.1, 1.2>, <W - 1.05 + 0.3 * J, Top + 2.5, 1.2>, 0.1 pigment { srgb <0.62, 0.36, 0.26> } finish { Matt } }
    #end
    box { <0.02, 3.0, -0.2>, <W - 0.02, 3.25, 0> texture { Concrete } }
    box { <0, Top - 0.2, -0.3>, <W, Top + 0.05, 0> texture { Concrete } }
    box { <0.1, 0, -0.08>, <W - 0.1, 3.0, 0> pigment { color Paint } finish { Matt } }
    box { <0.4, 0.6, -0.1>, <W - 1.7, 2.3, 0> texture { Glass } }
    box { <W - 1.4, 0.1, -0.1>, <W - 0.5, 2.3, 0> texture { Glass } }
    #for (J, 0, 2)
      box { <0.4 + J * (W - 2.15) / 2, 0.6, -0.12>, <0.45 + J * (W - 2.15) / 2, 2.3, 0> texture { White } }
    #end
    box { <W - 1.4, 0.1, -0.12>, <W - 0.5, 0.7, 0> pigment { color Paint * 0.6 } finish { Matt } }
    box { <W - 1.4, 0.7, -0.12>, <W - 1.32, 2.3, 0> texture { White } }
    box { <W - 0.58, 0.7, -0.12>, <W - 0.5, 2.3, 0> texture { White } }
    // goods in the window
    #for (J, 0, 5)
      sphere {
        0, 0.2 scale <1, 0.8 + 0.3 * mod(J * 2.7, 1), 0.3> translate <0.8 + J * (W - 2.6) / 5.5, 0.85, -0.1>
        pigment { granite scale 0.3 color_map { [0.2 srgb <0.8, mod(J * 0.37, 1), 0.2>] [0.8 srgb <0.4, 0.6, mod(J * 0.53, 1)>] } } finish { Matt }
      }
    #end
    // sign
    box { <0.6, 2.5, -0.14>, <W - 0.6, 2.9, 0> pigment { color Paint * 0.45 } finish { Matt } }
    #for (J, 0, floor((W - 2.4) / 0.34))
      #if (mod(J * 7, 5) != 3)
        box { <1.0 + J * 0.34, 2.58, -0.16>, <1.0 + J * 0.34 + 0.12 + 0.1 * mod(J * 3, 2), 2.82 - 0.08 * mod(J, 2), 0> pigment { srgb <0.95, 0.86, 0.55> } finish { Matt } }
      #end
    #end
    // awning
    box {
      <0.3, 0, -1.25>, <W - 1.5, 0.03, 0>
      pigment { gradient x scale 0.5 color_map { [0.5 color Awning] [0.5 srgb <0.95, 0.93, 0.88>] } } finish { Matt }
      rotate -26 * x translate <0, 2.45, 0>
    }
    #for (J, 0, Count - 1)
      #local X = (J + 0.5) * W / Count - 0.5;
      object { Sash(1.0, 1.6, srgb <0.93, 0.91, 0.87>) translate <X, 3.9, 0> }
      #if (Floors > 1)
        object { Sash(1.0, 1.5, srgb <0.93, 0.91, 0.87>) translate <X, 6.9, 0> }
      #end
    #end
  }
#end

object { House(6.2, 2, Bricks(srgb <0.48, 0.24, 0.18>, srgb <0.74, 0.46, 0.34>), srgb <0.20, 0.36, 0.30>, srgb <0.70, 0.20, 0.16>, 3) translate <-16.4, 0, 10> }
object { House(5.6, 1, Bricks(srgb <0.66, 0.57, 0.42>, srgb <0.84, 0.76, 0.60>), srgb <0.46, 0.17, 0.16>, srgb <0.20, 0.42, 0.30>, 2) translate <-10.2, 0, 10> }
object { House(6.8, 2, Bricks(srgb <0.44, 0.21, 0.17>, srgb <0.66, 0.36, 0.27>), srgb <0.20, 0.30, 0.46>, srgb <0.85, 0.60, 0.20>, 3) translate <-4.6, 0, 10> }
object { House(5.6, 1, Bricks(srgb <0.55, 0.53, 0.50>, srgb <0.78, 0.75, 0.70>), srgb <0.34, 0.24, 0.16>, srgb <0.18, 0.34, 0.56>, 2) translate <2.2, 0, 10> }
object { House(6.4, 1, Bricks(srgb <0.52, 0.26, 0.16>, srgb <0.78, 0.48, 0.32>), srgb <0.16, 0.34, 0.24>, srgb <0.66, 0.18, 0.20>, 3) translate <7.8, 0, 10> }
object { House(6.2, 2, Bricks(srgb <0.62, 0.52, 0.38>, srgb <0.80, 0.70, 0.54>), srgb <0.30, 0.20, 0.34>, srgb <0.20, 0.42, 0.30>, 2) translate <14.2, 0, 10> }

// ---- cars ----

#declare Wheel = union {
  torus { 0.25, 0.075 rotate 90 * x pigment { srgb <0.07, 0.07, 0.08> } finish { Matt } }
  cylinder { -0.06 * z, 0.06 * z, 0.26 pigment { srgb <0.08, 0.08, 0.09> } finish { Matt } }
  cylinder { -0.08 * z, 0, 0.19 pigment { radial frequency 5 rotate 90 * x color_map { [0.55 srgb <0.80, 0.81, 0.83>] [0.55 srgb <0.12, 0.12, 0.13>] } } finish { Matt specular 0.6 } }
  cylinder { -0.095 * z, 0, 0.07 pigment { srgb <0.85, 0.85, 0.87> } finish { Matt specular 0.6 } }
}

// Side view outline of body and cabin; the car heads for +x, is 4.1 long and 1.7 wide, near side at z = 0.
#declare Body = prism {
  cubic_spline 0, 1, 18,
  <-2.0, 0.75>, <-2.05, 0.45>, <-1.95, 0.28>, <-1.0, 0.24>, <0.0, 0.24>, <1.0, 0.24>, <1.95, 0.26>, <2.08, 0.42>, <2.02, 0.62>, <1.75, 0.78>,
  <1.0, 0.88>, <0.4, 0.93>, <-0.5, 0.95>, <-1.3, 0.95>, <-1.85, 0.92>, <-2.0, 0.75>, <-2.05, 0.45>, <-1.95, 0.28>
  rotate -90 * x scale <1, 1, -1.7>
}
#macro Cabin(Shrink, Depth)
  prism {
    linear_spline 0, 1, 5,
    <-1.75 + Shrink, 0.9>, <0.95 - Shrink * 1.7, 0.9>, <0.22 - Shrink * 0.6, 1.45 - Shrink * 0.7>, <-1.2 + Shrink * 0.5, 1.47 - Shrink * 0.7>, <-1.75 + Shrink, 0.9>
    rotate -90 * x scale <1, 1, -Depth>
  }
#end
#macro Car(Colour, Travel)
  union {
    difference {
      object { Body }
      cylinder { <-1.28, 0.33, -1>, <-1.28, 0.33, 3>, 0.4 }
      cylinder { <1.3, 0.33, -1>, <1.3, 0.33, 3>, 0.4 }
      box { <-0.42, 0.3, -1>, <-0.4, 1, 0.012> }
      box { <0.62, 0.3, -1>, <0.64, 1, 0.012> }
      box { <-1.28, 0.93, -1>, <-1.26, 1, 0.012> }
    }
    object { Cabin(0, 1.46) translate 0.12 * z }
    difference {
      object { Cabin(0.09, 1.5) translate 0.1 * z }
      box { <-0.44, 0, -1>, <-0.37, 2, 3> }
      texture { Glass }
    }
    box { <-0.62, 0.76, -0.03>, <-0.46, 0.79, 0.1> texture { White } }
    box { <-1.98, 0.42, -0.015>, <1.98, 0.46, 0.1> pigment { srgb <0.12, 0.12, 0.13> } finish { Matt } }
    sphere { 0, 1 scale <0.08, 0.1, 0.16> translate <1.96, 0.62, 0.25> pigment { srgb <0.96, 0.95, 0.85> } finish { ambient 0.2 diffuse 0.8 specular 0.6 } }
    box { <-2.06, 0.6, 0.0>, <-1.9, 0.78, 0.28> pigment { srgb <0.65, 0.05, 0.05> } finish { Matt specular 0.4 } }
    box { <0.62, 0.92, -0.14>, <0.8, 1.05, 0.05> }
    object { Wheel rotate -degrees(Travel / 0.325) * z translate <-1.28, 0.325, 0.12> }
    object { Wheel rotate (40 - degrees(Travel / 0.325)) * z translate <1.3, 0.325, 0.12> }
    object { Wheel rotate -degrees(Travel / 0.325) * z rotate 180 * y translate <-1.28, 0.325, 1.58> }
    object { Wheel rotate -degrees(Travel / 0.325) * z rotate 180 * y translate <1.3, 0.325, 1.58> }
    pigment { color Colour }
    finish { ambient 0.03 diffuse 0.65 specular 0.6 roughness 0.01 reflection { 0.04, 0.3 } }
  }
#end

#declare Red = -4.3 + 3.1 * Time;
object { Car(srgb <0.72, 0.08, 0.07>, Red) translate <Red, 0, 0.9> }

#declare Blue = 6.8 - 3.6 * Time;
object { Car(srgb <0.13, 0.30, 0.58>, -Blue) rotate 180 * y translate <Blue, 0, 5.4> }

#declare Yellow = 14.5 - 3.4 * Time;
object { Car(srgb <0.90, 0.68, 0.14>, -Yellow) rotate 180 * y translate <Yellow, 0, 5.4> }

object { Car(srgb <0.60, 0.62, 0.63>, 0) scale <1, 1.02, 0.8> translate <-3.4, 0, 5.55> }

// ---- in front: lamp posts, a tree, a pillar box ----

#declare Iron = texture { pigment { srgb <0.10, 0.16, 0.14> } finish { Matt specular 0.4 roughness 0.03 } }
#macro Lamp(P)
  union {
    cone { 0, 0.16, 0.9 * y, 0.1 }
    cylinder { 0, 3.9 * y, 0.065 }
    torus { 0.1, 0.04 translate 0.9 * y }
    torus { 0.08, 0.03 translate 2.6 * y }
    cone { 3.9 * y, 0.1, 4.35 * y, 0.22 pigment { srgb <0.93, 0.91, 0.80> } finish { ambient 0.1 diffuse 0.8 } }
    cone { 4.35 * y, 0.28, 4.6 * y, 0.03 }
    texture { Iron }
    translate P
  }
#end
Lamp(<-2.9, 0.15, -1.6>)
Lamp(<4.4, 0.15, -1.6>)
Lamp(<0.6, 0.15, 7.5>)
Lamp(<-8.6, 0.15, 7.5>)

#declare Crown = object { Leaves(6500, 24, 0.052, 9) }
#macro Tree(P, Turn, Dark, Light)
  union {
    cone { 0, 0.2, 2.5 * y, 0.12 texture { Bark } }
    cone { 1.9 * y, 0.1, <0.7, 3.1, 0>, 0.04 texture { Bark } }
    cone { 1.8 * y, 0.1, <-0.7, 3.0, 0.1>, 0.04 texture { Bark } }
    object { Crown rotate Turn * y scale <1.4, 1.25, 1.4> translate 3.35 * y Foliage(Dark, Light) }
    translate P
  }
#end
Tree(<1.15, 0.15, -2.4>, 0, srgb <0.16, 0.28, 0.09>, srgb <0.54, 0.64, 0.24>)
Tree(<5.2, 0.15, 8.2>, 120, srgb <0.20, 0.28, 0.08>, srgb <0.64, 0.66, 0.24>)
Tree(<-6.2, 0.15, 8.2>, 230, srgb <0.16, 0.28, 0.09>, srgb <0.50, 0.62, 0.24>)

union {
  cylinder { 0, 0.15 * y, 0.3 pigment { srgb <0.10, 0.10, 0.11> } }
  cylinder { 0.15 * y, 1.35 * y, 0.26 }
  sphere { 0, 0.31 scale <1, 0.35, 1> translate 1.38 * y }
  cylinder { 1.3 * y, 1.38 * y, 0.31 }
  box { <-0.13, 1.1, -0.28>, <0.13, 1.15, 0> pigment { srgb <0.05, 0.03, 0.03> } }
  box { <-0.1, 0.75, -0.28>, <0.1, 0.98, 0> pigment { srgb <0.93, 0.90, 0.82> } }
  pigment { srgb <0.75, 0.10, 0.08> }
  finish { Matt specular 0.4 roughness 0.02 }
  rotate 8 * y
  translate <2.75, 0.15, -1.5>
}
