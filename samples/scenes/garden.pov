// Garden: the camera walks past trees and a gate post; a ball bounces along the path in front of a house.
// SPDX-License-Identifier: LGPL-2.1-or-later

#version 3.7;
#include "common.inc"

#declare Walk = -1.25 + 1.25 * Time;
Shot(<Walk, 1.65, -1.2 + 0.35 * Time> + Unrest(0.008), <0.72 * Walk + 0.1, 1.75, 11> + Unrest(0.03), 54)

Sun(<-0.55, 0.75, -0.6>, <1.0, 0.91, 0.76> * 1.7)
Fill(<0.3, 1, -0.4>, <0.30, 0.40, 0.58> * 0.55)
Fill(<0, -1, -0.3>, <0.30, 0.30, 0.18> * 0.35)

sky_sphere {
  pigment { gradient y color_map { [0 srgb <0.80, 0.88, 0.95>] [0.25 srgb <0.50, 0.69, 0.92>] [0.7 srgb <0.24, 0.44, 0.78>] } }
  pigment {
    bozo turbulence 0.65 octaves 6 omega 0.55 lambda 2.2 scale <0.55, 0.16, 0.4> translate <0.006 * Time, 0.13, 0>
    color_map { [0.42 srgbt <1, 1, 1, 1>] [0.62 srgbt <0.98, 0.98, 0.99, 0.25>] [0.85 srgbt <0.84, 0.86, 0.9, 0.05>] }
  }
}

// ---- ground ----

plane {
  y, 0
  pigment {
    granite scale 1.7
    color_map { [0.1 srgb <0.20, 0.33, 0.10>] [0.45 srgb <0.36, 0.50, 0.16>] [0.8 srgb <0.56, 0.63, 0.28>] }
  }
  normal { granite 0.7 scale 0.25 }
  finish { ambient 0.02 diffuse 0.8 }
}

box {
  <-30, -0.1, 5.3>, <30, 0.03, 7.1>
  pigment {
    crackle form <-1, 1, 0> metric 2 scale <0.5, 0.4, 0.36> turbulence 0.05
    color_map { [0.03 srgb <0.35, 0.31, 0.25>] [0.09 srgb <0.66, 0.60, 0.50>] [0.35 srgb <0.78, 0.73, 0.64>] [0.8 srgb <0.62, 0.57, 0.52>] }
  }
  normal { granite 0.25 scale 0.2 }
  finish { ambient 0.02 diffuse 0.8 }
}

#macro Grass(Count, From, To, Height, Seed)
  #local R = seed(Seed);
  mesh {
    #for (I, 0, Count - 1)
      #local P = <From.x + (To.x - From.x) * rand(R), 0, From.z + (To.z - From.z) * rand(R)>;
      #local A = rand(R) * 2 * pi;
      #local W = 0.022 * <cos(A), 0, sin(A)>;
      triangle { P - W, P + W, P + <rand(R) - 0.5, 1 + rand(R), rand(R) - 0.5> * Height }
    #end
    texture {
      pigment { granite scale 0.8 color_map { [0.2 srgb <0.22, 0.38, 0.10>] [0.8 srgb <0.62, 0.72, 0.28>] } }
      finish { ambient 0.03 diffuse 0.8 }
    }
  }
#end
Grass(2600, <-3.6, 0, 0.6>, <3.6, 0, 5.25>, 0.11, 11)
Grass(900, <-6, 0, 7.1>, <6, 0, 7.6>, 0.14, 12)

// ---- house ----

#declare White = texture { pigment { srgb <0.93, 0.91, 0.86> } finish { ambient 0.03 diffuse 0.8 } }
#declare Green = texture {
  pigment { gradient y scale 0.12 color_map { [0 srgb <0.10, 0.24, 0.20>] [0.25 srgb <0.20, 0.42, 0.36>] [1 srgb <0.24, 0.48, 0.40>] } }
  finish { ambient 0.03 diffuse 0.8 }
}
#declare Pane = texture { pigment { srgb <0.10, 0.13, 0.17> } finish { ambient 0 diffuse 0.4 reflection 0.35 specular 0.4 } }
#declare Stone = texture {
  pigment { granite scale 0.5 color_map { [0 srgb <0.48, 0.46, 0.43>] [0.6 srgb <0.72, 0.69, 0.63>] [1 srgb <0.85, 0.83, 0.78>] } }
  normal { granite 0.3 scale 0.2 }
  finish { ambient 0.03 diffuse 0.8 }
}
#declare Wall = texture {
  pigment {
    brick
    pigment { srgb <0.80, 0.76, 0.69> }
    pigment {
      granite scale <1.5, 0.5, 1> color_map { [0.1 srgb <0.52, 0.26, 0.19>] [0.5 srgb <0.68, 0.36, 0.25>] [0.9 srgb <0.79, 0.50, 0.36>] }
    }
    brick_size <0.52, 0.2, 0.3> mortar 0.03
  }
  normal { granite 0.2 scale 0.2 }
  finish { ambient 0.03 diffuse 0.8 }
}
#declare Tiles = texture {
  pigment {
    brick
    pigment { srgb <0.24, 0.14, 0.12> }
    pigment { granite scale 0.9 color_map { [0.1 srgb <0.40, 0.22, 0.19>] [0.9 srgb <0.62, 0.38, 0.31>] } }
    brick_size <0.36, 0.4, 0.3> mortar 0.035
  }
  finish { ambient 0.03 diffuse 0.8 specular 0.1 }
}

// Window of width W and height H, its lower left corner at the origin, facing -z.
#macro Window(W, H)
  union {
    box { <0, 0, -0.02>, <W, H, 0.05> texture { Pane } }
    union {
      box { <-0.08, -0.08, -0.1>, <W + 0.08, 0, 0> }
      box { <-0.08, H, -0.1>, <W + 0.08, H + 0.08, 0> }
      box { <-0.08, 0, -0.1>, <0, H, 0> }
      box { <W, 0, -0.1>, <W + 0.08, H, 0> }
      box { <W / 2 - 0.03, 0, -0.06>, <W / 2 + 0.03, H, 0> }
      box { <0, H * 0.6 - 0.025, -0.06>, <W, H * 0.6 + 0.025, 0> }
      texture { White }
    }
    box { <-0.2, -0.18, -0.2>, <W + 0.2, -0.08, 0> texture { Stone } }
    box { <-0.6, -0.06, -0.07>, <-0.1, H + 0.06, 0> texture { Green } }
    box { <W + 0.1, -0.06, -0.07>, <W + 0.6, H + 0.06, 0> texture { Green } }
    object {
      Leaves(400, 9, 0.1, 5) scale <W * 0.52, 0.2, 0.16> translate <W / 2, 0, -0.14>
      texture {
        pigment { crackle scale 0.16 color_map { [0.2 srgb <0.85, 0.16, 0.20>] [0.4 srgb <0.92, 0.40, 0.45>] [0.4 srgb <0.25, 0.45, 0.15>] } }
        finish { ambient 0.05 diffuse 0.8 }
      }
    }
  }
#end

union {
  box { <-4.2, 0, 0>, <4.2, 3.1, 6> texture { Wall translate <0.1, 0.02, 0.15> } }
  box { <-4.3, 0, -0.1>, <4.3, 0.4, 6.1> texture { Stone } }
  object { Window(1.2, 1.3) translate <-3.05, 1.15, 0> }
  object { Window(1.2, 1.3) translate <1.85, 1.15, 0> }
  union {
    box { <-0.55, 0.4, -0.08>, <0.55, 2.5, 0> texture { Green scale 3 } }
    box { <-0.3, 1.7, -0.1>, <0.3, 2.3, 0> texture { Pane } }
    box { <-0.7, 0.4, -0.12>, <-0.55, 2.65, 0> texture { White } }
    box { <0.55, 0.4, -0.12>, <0.7, 2.65, 0> texture { White } }
    box { <-0.7, 2.5, -0.12>, <0.7, 2.65, 0> texture { White } }
    sphere { <0.42, 1.4, -0.13>, 0.06 pigment { srgb <0.85, 0.7, 0.3> } finish { specular 0.8 } }
    box { <-0.9, 0, -0.9>, <0.9, 0.2, 0> texture { Stone } }
    box { <-0.8, 0.2, -0.5>, <0.8, 0.4, 0> texture { Stone } }
    box { <-1, 2.85, -0.9>, <1, 2.97, 0> texture { White } }
    cylinder { <-0.85, 0.2, -0.75>, <-0.85, 2.85, -0.75>, 0.07 texture { White } }
    cylinder { <0.85, 0.2, -0.75>, <0.85, 2.85, -0.75>, 0.07 texture { White } }
    translate -0.35 * x
  }
  box { <-4.8, 0, 0>, <4.8, 4.6, 0.14> texture { Tiles } rotate 43 * x translate <0, 2.8, -0.45> }
  box { <-4.8, 2.78, -0.5>, <4.8, 2.92, -0.4> texture { White } }
  box { <2.1, 4, 1.6>, <2.9, 6.3, 2.4> texture { Wall translate <0.1, 0.02, 1.75> } }
  box { <2.0, 6.3, 1.5>, <3.0, 6.45, 2.5> texture { Stone } }
  translate <0.3, 0, 9.6>
}

// ---- plants ----

#declare Crown = object { Leaves(6500, 24, 0.052, 3) }

#macro Tree(P, Height, Width, Thick, Dark, Light, Turn)
  union {
    cone { 0, Thick * 1.35, Height * y, Thick * 0.6 texture { Bark } }
    cone { Height * 0.65 * y, Thick * 0.5, <Width * 0.6, Height * 1.1, 0.2>, Thick * 0.2 texture { Bark } }
    cone { Height * 0.75 * y, Thick * 0.5, <-Width * 0.55, Height * 1.15, -0.1>, Thick * 0.2 texture { Bark } }
    object { Crown rotate Turn * y scale <Width, Width * 0.85, Width> translate (Height + Width * 0.35) * y Foliage(Dark, Light) }
    translate P
  }
#end

#declare DarkLeaf = srgb <0.15, 0.28, 0.09>;
#declare LightLeaf = srgb <0.50, 0.62, 0.22>;
Tree(<-0.55, 0, 3.0>, 2.6, 1.15, 0.15, DarkLeaf, LightLeaf, 20)
Tree(<2.25, 0, 4.2>, 2.7, 1.3, 0.17, srgb <0.30, 0.27, 0.07>, srgb <0.75, 0.62, 0.22>, 130)
Tree(<-3.5, 0, 8.3>, 2.4, 1.1, 0.15, DarkLeaf, srgb <0.60, 0.68, 0.30>, 75)
Tree(<6.3, 0, 12>, 3.2, 2.4, 0.25, DarkLeaf, LightLeaf, 200)
Tree(<-7.2, 0, 14>, 3.4, 2.7, 0.25, DarkLeaf, srgb <0.44, 0.56, 0.25>, 290)
Tree(<-4.5, 0, 20>, 4.4, 3.3, 0.25, DarkLeaf, srgb <0.42, 0.55, 0.30>, 10)
Tree(<9.5, 0, 19>, 4.0, 3.4, 0.25, DarkLeaf, srgb <0.42, 0.55, 0.30>, 160)

#for (I, 0, 9)
  object {
    Crown rotate I * 67 * y scale <0.75, 0.55, 0.45> translate <-9.5 + 1.1 * I + (I > 4 ? 5.4 : 0), 0.4, 8.9>
    Foliage(srgb <0.12, 0.25, 0.08>, srgb <0.40, 0.55, 0.20>)
  }
#end

sphere {
  0, 1 scale <70, 9, 20> translate <-35, -1, 75>
  pigment { granite scale 6 color_map { [0 srgb <0.36, 0.48, 0.42>] [1 srgb <0.52, 0.62, 0.52>] } }
  finish { ambient 0.05 diffuse 0.6 }
}
sphere {
  0, 1 scale <80, 13, 20> translate <45, -1, 90>
  pigment { granite scale 7 color_map { [0 srgb <0.42, 0.53, 0.56>] [1 srgb <0.56, 0.66, 0.64>] } }
  finish { ambient 0.05 diffuse 0.6 }
}

// ---- gate post in front, ball on the path ----

union {
  box { <-0.2, 0, -0.2>, <0.2, 1.35, 0.2> }
  box { <-0.26, 1.35, -0.26>, <0.26, 1.45, 0.26> }
  sphere { 1.63 * y, 0.2 }
  box { <-0.26, 0, -0.26>, <0.26, 0.18, 0.26> }
  texture { Stone }
  rotate 15 * y
  translate <0.95, 0, 2.5>
}

#declare Radius = 0.32;
#declare Along = -2.3 + 2.3 * Time;
#declare Bounce = abs(sin(pi * (Time / 0.72 + 0.2)));
sphere {
  0, Radius
  pigment {
    radial frequency 6
    color_map { [0.5 srgb <0.86, 0.13, 0.10>] [0.5 srgb <0.96, 0.93, 0.86>] }
    rotate 90 * x
  }
  finish { ambient 0.03 diffuse 0.75 specular 0.35 roughness 0.03 }
  rotate 25 * y
  rotate -degrees(Along / Radius) * 0.7 * z
  translate <Along, Radius + 0.03 + 0.75 * Bounce, 6.1>
}
